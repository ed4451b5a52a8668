#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/metrics.h"

namespace offramp {

/// What a policy did on labelled images.
struct PolicyOutcome {
  std::span<const std::int64_t> labels;      ///< [N]
  std::span<const int> exit_index;           ///< [N] where each image stopped, 0-based
  std::span<const std::int64_t> answers;     ///< [N] the class named there
  std::span<const std::int64_t> references;  ///< [N] the class the last exit names
};

struct PolicyMetrics {
  double accuracy = 0;
  Interval accuracy_interval;
  double relative_cost = 0;    ///< mean over the images
  std::vector<double> shares;  ///< [K] of the images, by the exit they stopped at
  double harm = 0;             ///< rate of images that the last exit names right, the policy wrong
  double help = 0;             ///< the reverse
};

/// @param relative_costs  [K] of an image that stops at exit k
/// @throws Error if sizes do not fit, an exit is not one of K, or there is no image
PolicyMetrics measure_policy(const PolicyOutcome& outcome, std::span<const double> relative_costs);

}  // namespace offramp
