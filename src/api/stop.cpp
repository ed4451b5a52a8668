#include <cmath>

#include "core/error.h"
#include "offramp/session.h"
#include "policy/criteria.h"

namespace offramp {
namespace {

void check(policy::Criterion criterion, float threshold) {
  try {
    policy::check_threshold(criterion, threshold);
  } catch (const Error& error) {
    core::throw_with_place("threshold", error);
  }
}

}  // namespace

Stop Stop::by_policy() {
  Stop stop;
  stop.rule_ = Rule::policy;
  return stop;
}

Stop Stop::at_threshold(float threshold) {
  check(policy::Criterion::confidence, threshold);
  Stop stop;
  stop.rule_ = Rule::threshold;
  stop.threshold_ = threshold;
  return stop;
}

Stop Stop::at_score(std::string_view criterion, float threshold) {
  const policy::Criterion parsed = policy::criterion_from_string(criterion);
  check(parsed, threshold);
  Stop stop;
  stop.rule_ = Rule::score;
  stop.criterion_ = static_cast<int>(parsed);
  stop.threshold_ = threshold;
  return stop;
}

Stop Stop::at_step(int step) {
  if (step < 0) throw UsageError(fmt::format("step: got {}, expected 0 or more", step));
  Stop stop;
  stop.rule_ = Rule::step;
  stop.step_ = step;
  return stop;
}

Stop Stop::never() { return {}; }
Stop Stop::within(double milliseconds) { return never().and_within(milliseconds); }
Stop Stop::within_macs(std::int64_t macs) { return never().and_within_macs(macs); }

Stop Stop::and_within(double milliseconds) const {
  if (!(milliseconds > 0) || !std::isfinite(milliseconds))
    throw UsageError(fmt::format("deadline: expected milliseconds above 0, got {}", milliseconds));
  Stop stop = *this;
  stop.milliseconds_ = milliseconds;
  return stop;
}

Stop Stop::and_within_macs(std::int64_t macs) const {
  if (macs <= 0)
    throw UsageError(fmt::format("budget: expected multiply-accumulates above 0, got {}", macs));
  Stop stop = *this;
  stop.macs_ = macs;
  return stop;
}

}  // namespace offramp
