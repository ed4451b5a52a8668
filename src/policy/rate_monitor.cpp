#include "policy/rate_monitor.h"

#include "core/error.h"

namespace offramp::policy {
namespace {

// The rates against which the bound is tested, as multiples of the odds at the bound. One of them
// is close to any rate that matters; each further rate costs a little detection speed.
constexpr double kOddsRatios[] = {1.25, 1.6, 2, 3, 5, 10, 30, 100};

}  // namespace

RateMonitor::RateMonitor(double bound, double alarm_at) : bound_(bound), alarm_at_(alarm_at) {
  OFFRAMP_ASSERT(bound > 0 && bound < 1 && alarm_at > 1);
  const double odds = bound / (1 - bound);
  for (const double ratio : kOddsRatios) {
    const double rate = ratio * odds / (1 + ratio * odds);
    bets_.push_back({rate / bound, (1 - rate) / (1 - bound)});
  }
}

void RateMonitor::add(bool event) {
  if (alarm_) return;
  ++observations_;
  events_ += event ? 1 : 0;
  double total = 0;
  for (Bets& bets : bets_) {
    bets.sum = (bets.sum + 1) * (event ? bets.if_event : bets.if_none);
    total += bets.sum;
  }
  evidence_ = total / static_cast<double>(bets_.size());
  alarm_ = evidence_ >= alarm_at_;
}

void RateMonitor::restart() {
  for (Bets& bets : bets_) bets.sum = 0;
  evidence_ = 0;
  observations_ = events_ = 0;
  alarm_ = false;
}

}  // namespace offramp::policy
