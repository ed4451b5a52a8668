#include "runtime/step_time_estimator.h"

#include <algorithm>
#include <cmath>

namespace offramp::runtime {

void StepTimeEstimator::add(int index, double seconds) {
  Step& step = steps_[static_cast<std::size_t>(index)];
  if (step.refusals >= kRecordLength) step.runs = 0;
  step.last[static_cast<std::size_t>(step.runs++ % kRecordLength)] = seconds;
  step.refusals = 0;
  const auto num_recorded =
      static_cast<std::ptrdiff_t>(std::min<std::int64_t>(step.runs, kRecordLength));
  std::array<double, kRecordLength> sorted = step.last;
  const auto middle = sorted.begin() + (num_recorded * 95 + 99) / 100 - 1;
  std::nth_element(sorted.begin(), middle, sorted.begin() + num_recorded);
  step.quantile = *middle;
  step.shortest = std::min(step.shortest, seconds);
}

double StepTimeEstimator::expected(int index) const {
  const Step& step = steps_[static_cast<std::size_t>(index)];
  if (step.runs == 0) return std::numeric_limits<double>::infinity();
  constexpr double kHalvedAfter = 100;  // number of refusals
  return step.shortest + (step.quantile - step.shortest) * std::exp2(-step.refusals / kHalvedAfter);
}

bool StepTimeEstimator::fits(int index, double seconds) {
  if (expected(index) <= seconds) return true;
  int& refusals = steps_[static_cast<std::size_t>(index)].refusals;
  refusals = std::min(refusals + 1, 1'000'000);  // by then expected() has reached the shortest run
  return false;
}

}  // namespace offramp::runtime
