#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

namespace offramp {

/// How long each step of a network takes at most, nearly: what a deadline is kept by. A step is the
/// way from one exit to the next, decision included.
class StepTimes {
 public:
  explicit StepTimes(int steps) : steps_(static_cast<std::size_t>(steps)) {}

  /// A step took this long.
  void add(int step, double seconds);

  /// Whether a step can be expected to fit into what is left: the 95 % quantile of its last 64 runs
  /// does. Where it does not, what is expected sinks slowly towards its shortest run ever, so that
  /// it is tried again some time after a slow spell; after a long refusal its record then begins
  /// anew. False while nothing is known.
  bool fits(int step, double seconds);

  /// What is expected of a step now, in seconds; infinite while nothing is known.
  double expected(int step) const;

 private:
  static constexpr int kKept = 64;  ///< runs
  struct Step {
    std::array<double, kKept> last{};
    std::int64_t runs = 0;  ///< of this record
    double quantile = 0;
    double shortest = std::numeric_limits<double>::infinity();  ///< ever
    int refusals = 0;                                           ///< since the last run
  };
  std::vector<Step> steps_;
};

}  // namespace offramp
