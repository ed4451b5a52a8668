#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "eval/metrics.h"

namespace offramp::eval {

/// A baseline: another way to classify the same images, with which a policy is compared.
struct Baseline {
  double accuracy = 0;
  double relative_cost = 0;  ///< mean relative cost of the images
  /// Wilson 95 % interval; no value for an expected accuracy.
  std::optional<Interval> accuracy_interval;
  double difference = 0;         ///< the policy's accuracy minus the baseline's
  Interval difference_interval;  ///< paired 95 % interval of `difference`
};

/// Compares a policy with a baseline that predicts one class per image, such as another network or
/// a single exit.
/// @param policy  [N] classes that the policy predicts
/// @param answers  [N] classes that the baseline predicts
/// @throws Error if sizes differ or there is no image
Baseline compare_with_baseline(std::span<const std::int64_t> labels,
                               std::span<const std::int64_t> policy,
                               std::span<const std::int64_t> answers, double relative_cost);

/// Compares a policy with stopping at a random exit, where each exit has the probability of its
/// share under the policy. Accuracy and cost of the baseline are exact expectations, not simulated.
/// @param policy  [N] classes that the policy predicts  @param shares, costs  [K]
Baseline random_exits(const policy::LogitsView& view, std::span<const std::int64_t> policy,
                      std::span<const double> shares, std::span<const double> costs);

/// Compares a policy with stopping at the first exit that is correct, or at exit 1 if none is. This
/// baseline uses the labels, so no policy can be more accurate.
/// @param policy  [N] classes that the policy predicts  @param costs  [K]
Baseline oracle(const policy::LogitsView& view, std::span<const std::int64_t> policy,
                std::span<const double> costs);

}  // namespace offramp::eval
