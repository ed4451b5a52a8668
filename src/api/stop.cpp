#include <cmath>

#include "core/error.h"
#include "offramp/session.h"
#include "policy/policy.h"

namespace offramp {

Stop Stop::by_policy() {
  Stop stop;
  stop.rule_ = Rule::policy;
  return stop;
}

Stop Stop::at_threshold(float threshold) {
  if (!(threshold >= 0 && threshold <= 1))
    throw UsageError("threshold: expected a score from 0 to 1, got {}", threshold);
  Stop stop;
  stop.rule_ = Rule::threshold;
  stop.threshold_ = threshold;
  return stop;
}

Stop Stop::at_score(std::string_view criterion, float threshold) {
  Stop stop;
  const Criterion parsed = criterion_from_string(criterion);
  if (parsed == Criterion::patience) {
    if (!(threshold >= 1 && threshold == std::floor(threshold)))
      throw UsageError("threshold: expected a number of exits that agree, from 1, got {}",
                       threshold);
  } else {
    stop = at_threshold(threshold);
  }
  stop.rule_ = Rule::score;
  stop.criterion_ = static_cast<int>(parsed);
  stop.threshold_ = threshold;
  return stop;
}

Stop Stop::never() { return {}; }
Stop Stop::within(double milliseconds) { return never().and_within(milliseconds); }
Stop Stop::within_macs(std::int64_t macs) { return never().and_within_macs(macs); }

Stop Stop::and_within(double milliseconds) const {
  if (!(milliseconds > 0) || !std::isfinite(milliseconds))
    throw UsageError("deadline: expected milliseconds above 0, got {}", milliseconds);
  Stop stop = *this;
  stop.milliseconds_ = milliseconds;
  return stop;
}

Stop Stop::and_within_macs(std::int64_t macs) const {
  if (macs <= 0) throw UsageError("budget: expected multiply-accumulates above 0, got {}", macs);
  Stop stop = *this;
  stop.macs_ = macs;
  return stop;
}

}  // namespace offramp
