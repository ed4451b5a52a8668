#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

namespace offramp::runtime {

/// Estimates how long a network will take to reach each exit from the exit before it, so that
/// deadlines can be met. The time of an exit includes the decision at it.
class ExitTimeEstimator {
 public:
  explicit ExitTimeEstimator(int exits) : exits_(static_cast<std::size_t>(exits)) {}

  /// Records that an exit took this long.
  void add(int exit_index, double seconds);

  /// Whether the expected time of an exit is at most `seconds`. After a run, the expected time is
  /// the 95 % quantile of the exit's last 64 runs. With every refusal it decreases towards the
  /// shortest run so far, so that the exit is tried again after a period in which the machine was
  /// slow; after 64 refusals the next run starts a new record. False if the exit has not been run
  /// yet.
  bool fits(int exit_index, double seconds);

  /// The expected time of an exit in seconds; infinite if it has not been run yet.
  double expected(int exit_index) const;

 private:
  static constexpr int kRecordLength = 64;  ///< number of runs in a record
  struct Exit {
    std::array<double, kRecordLength> last{};
    std::int64_t runs = 0;  ///< number of runs since the record was started
    double quantile = 0;    ///< 95 % quantile of the record
    double shortest = std::numeric_limits<double>::infinity();  ///< shortest time of all runs
    int refusals = 0;  ///< number of refusals since the last run
  };
  std::vector<Exit> exits_;
};

}  // namespace offramp::runtime
