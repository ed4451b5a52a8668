// Draws how many audits policy::RateMonitor takes until its alarm after a change, and in streams
// without one: the table of docs/guarantee.md. It reads no clock.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/random.h"
#include "policy/rate_monitor.h"

namespace {

using offramp::core::KeyedRandom;
using offramp::policy::RateMonitor;

constexpr double kBound = 0.03, kBefore = 0.02, kAlarmAt = 100'000;
constexpr std::uint64_t kStreams = 1000;

/// Observations of this rate until the alarm, at most `most`.
std::int64_t run(RateMonitor& monitor, KeyedRandom& random, double rate, std::int64_t most) {
  for (std::int64_t i = 1; i <= most; ++i) {
    monitor.add(static_cast<double>(random.next()) * 0x1p-64 < rate);
    if (monitor.alarm()) return i;
  }
  return most;
}

}  // namespace

int main() {
  for (const double rate : {0.04, 0.045, 0.06, 0.09, 0.15, 0.3, 1.0}) {
    std::vector<std::int64_t> delays;
    for (std::uint64_t stream = 0; stream < kStreams; ++stream) {
      RateMonitor monitor(kBound, kAlarmAt);
      KeyedRandom random(stream, 1);
      run(monitor, random, kBefore, 20'000);
      if (!monitor.alarm()) delays.push_back(run(monitor, random, rate, 1'000'000));
    }
    std::sort(delays.begin(), delays.end());
    fmt::print("| {:g} % | {} | {} |\n", 100 * rate, delays[delays.size() / 2],
               delays[delays.size() * 95 / 100]);
  }
  for (const double rate : {kBefore, kBound}) {
    int alarms = 0;
    for (std::uint64_t stream = 0; stream < 100; ++stream) {
      RateMonitor monitor(kBound, kAlarmAt);
      KeyedRandom random(stream, 2);
      run(monitor, random, rate, 100'000);
      alarms += monitor.alarm();
    }
    fmt::print("without a change, rate {:g} %: {} of 100 streams of 100,000 audits had an alarm\n",
               100 * rate, alarms);
  }
}
