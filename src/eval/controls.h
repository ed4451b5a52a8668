#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "eval/metrics.h"

namespace offramp {

/// Another way to classify the same images, to hold a policy against.
struct Control {
  double accuracy = 0;
  double relative_cost = 0;                   ///< mean
  std::optional<Interval> accuracy_interval;  ///< Wilson; none for an expectation
  double difference = 0;                      ///< the policy's accuracy less this one's
  Interval difference_interval;               ///< 95 %, paired
};

/// Something that names each image once: another network, or one exit alone.
/// @param policy  [N] what the policy names  @param answers  [N]
/// @throws Error if sizes differ or there is no image
Control control_of(std::span<const std::int64_t> labels, std::span<const std::int64_t> policy,
                   std::span<const std::int64_t> answers, double relative_cost);

/// Exits drawn at random, at the policy's rates: expected accuracy and cost, exactly.
/// @param shares, costs  [K]
Control random_exits(const LogitsView& view, std::span<const std::int64_t> policy,
                     std::span<const double> shares, std::span<const double> costs);

/// Leaves at the first exit that is right, and at exit 1 where none is: it sees the label, so no
/// policy can do better. @param costs  [K]
Control oracle(const LogitsView& view, std::span<const std::int64_t> policy,
               std::span<const double> costs);

}  // namespace offramp
