#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

namespace offramp::runtime {

/// Estimates how long each step of a network will take, so that deadlines can be met. A step is the
/// computation from one exit to the next, including the decision at that exit.
class StepTimeEstimator {
 public:
  explicit StepTimeEstimator(int steps) : steps_(static_cast<std::size_t>(steps)) {}

  /// Records that a step took this long.
  void add(int step, double seconds);

  /// Whether the expected time of a step is at most `seconds`. After a run, the expected time is
  /// the 95 % quantile of the step's last 64 runs. With every refusal it decreases towards the
  /// shortest run so far, so that the step is tried again after a period in which the machine was
  /// slow; after 64 refusals the next run starts a new record. False if the step has not been run
  /// yet.
  bool fits(int step, double seconds);

  /// The expected time of a step in seconds; infinite if it has not been run yet.
  double expected(int step) const;

 private:
  static constexpr int kRecordLength = 64;  ///< number of runs in a record
  struct Step {
    std::array<double, kRecordLength> last{};
    std::int64_t runs = 0;  ///< number of runs since the record was started
    double quantile = 0;    ///< 95 % quantile of the record
    double shortest = std::numeric_limits<double>::infinity();  ///< shortest time of all runs
    int refusals = 0;  ///< number of refusals since the last run
  };
  std::vector<Step> steps_;
};

}  // namespace offramp::runtime
