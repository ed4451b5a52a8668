#include "runtime/exit_time_estimator.h"

#include <algorithm>
#include <cmath>

namespace offramp::runtime {

void ExitTimeEstimator::add(int exit_index, double seconds) {
  Exit& exit = exits_[static_cast<std::size_t>(exit_index)];
  if (exit.refusals >= kRecordLength) exit.runs = 0;
  exit.last[static_cast<std::size_t>(exit.runs++ % kRecordLength)] = seconds;
  exit.refusals = 0;
  const auto num_recorded =
      static_cast<std::ptrdiff_t>(std::min<std::int64_t>(exit.runs, kRecordLength));
  std::array<double, kRecordLength> sorted = exit.last;
  const auto middle = sorted.begin() + (num_recorded * 95 + 99) / 100 - 1;
  std::nth_element(sorted.begin(), middle, sorted.begin() + num_recorded);
  exit.quantile = *middle;
  exit.shortest = std::min(exit.shortest, seconds);
}

double ExitTimeEstimator::expected(int exit_index) const {
  const Exit& exit = exits_[static_cast<std::size_t>(exit_index)];
  if (exit.runs == 0) return std::numeric_limits<double>::infinity();
  constexpr double kHalvedAfter = 100;  // number of refusals
  return exit.shortest + (exit.quantile - exit.shortest) * std::exp2(-exit.refusals / kHalvedAfter);
}

bool ExitTimeEstimator::fits(int exit_index, double seconds) {
  if (expected(exit_index) <= seconds) return true;
  int& refusals = exits_[static_cast<std::size_t>(exit_index)].refusals;
  refusals = std::min(refusals + 1, 1'000'000);  // by then expected() has reached the shortest run
  return false;
}

}  // namespace offramp::runtime
