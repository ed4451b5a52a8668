#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/metrics.h"

namespace offramp::eval {

/// The result of a policy on labelled images.
struct PolicyOutcome {
  std::span<const std::int64_t> labels;      ///< [N]
  std::span<const int> exit_index;           ///< [N] where each image stopped, 0-based
  std::span<const std::int64_t> answers;     ///< [N] the class that the policy predicts
  std::span<const std::int64_t> references;  ///< [N] the class that harm is counted against
};

/// Accuracy, cost and harm of a policy.
struct PolicyMetrics {
  double accuracy = 0;
  Interval accuracy_interval;
  double relative_cost = 0;       ///< mean relative cost of the images
  std::vector<double> shares;     ///< [K] share of the images that stopped at each exit
  double harm = 0;                ///< rate of images that only the reference classifies correctly
  double help = 0;                ///< rate of images that only the policy classifies correctly
  double reference_accuracy = 0;  ///< accuracy of the reference: accuracy + harm - help
};

/// Computes the metrics of a policy.
/// @param relative_costs  [K] relative cost of an image that stops at exit k
/// @throws Error if sizes do not match, an exit is out of range, or there is no image
PolicyMetrics measure_policy(const PolicyOutcome& outcome, std::span<const double> relative_costs);

}  // namespace offramp::eval
