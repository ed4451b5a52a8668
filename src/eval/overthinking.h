#pragma once

#include <cstdint>
#include <vector>

#include "policy/logits.h"

namespace offramp::eval {

/// Counts of the images that become correct or stop being correct from one exit to the next (after
/// Kaya et al., 2019).
struct OverthinkingCounts {
  std::int64_t images = 0;
  /// [K] images for which exit k is the first correct one: they need no later layers.
  std::vector<std::int64_t> first_correct;
  /// [K - 1] images for which exit k is the last correct one: later layers make the class wrong.
  std::vector<std::int64_t> lost_after;

  std::int64_t oracle() const;       ///< number of images for which any exit is correct
  std::int64_t destructive() const;  ///< number correct at an earlier exit, but not at the last
  std::int64_t wasteful() const;     ///< number correct at an earlier exit and at the last
  std::int64_t errors() const;       ///< number of images for which the last exit is wrong
  /// Returns a count as a share of the images, of which there must be at least one.
  double rate(std::int64_t count) const {
    return static_cast<double>(count) / static_cast<double>(images);
  }
  /// Returns the share of the last exit's errors for which an earlier exit is correct, or 0 if
  /// there are no errors.
  double destroyed_errors() const;
  /// Returns the mean cost of stopping at the first correct exit, over the images for which some
  /// exit is correct, or 0 if there are none. @param costs  [K]
  double needed_cost(const std::vector<double>& costs) const;
};

/// Counts the images of each class. @return [classes]  @throws Error as check()
std::vector<OverthinkingCounts> overthinking_by_class(const policy::LogitsView& view);

/// Returns the sum of several counts. @param groups  counts for the same network, at least one
OverthinkingCounts sum_of_counts(const std::vector<OverthinkingCounts>& groups);

}  // namespace offramp::eval
