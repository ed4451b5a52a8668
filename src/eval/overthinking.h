#pragma once

#include <cstdint>
#include <vector>

#include "policy/logits.h"

namespace offramp {

/// Where the right answer is found and lost on the way through the exits, over some images
/// (after Kaya et al., 2019). Counts of images.
struct OverthinkingCounts {
  std::int64_t images = 0;
  /// [K] exit k is the first that is right: what comes after it is not needed.
  std::vector<std::int64_t> first_right;
  /// [K - 1] exit k is right, no later one is: what comes after it destroys.
  std::vector<std::int64_t> lost_after;

  std::int64_t oracle() const;       ///< some exit is right
  std::int64_t destructive() const;  ///< some exit is right, the last is wrong
  std::int64_t wasteful() const;     ///< an earlier exit is right, and so is the last
  std::int64_t errors() const;       ///< of the last exit
  /// A count as a share of the images; there must be one.
  double rate(std::int64_t count) const {
    return static_cast<double>(count) / static_cast<double>(images);
  }
  /// Share of the last exit's errors that an earlier exit had right; 0 without errors.
  double destroyed_errors() const;
  /// Mean cost of leaving at the first right exit, over images that some exit names rightly; 0
  /// without any. @param costs  [K]
  double needed_cost(const std::vector<double>& costs) const;
};

/// One for each class, in order. @throws Error as `check`
std::vector<OverthinkingCounts> overthinking_by_class(const LogitsView& view);

/// Over all images of all parts. @param parts  of one network, at least one
OverthinkingCounts together(const std::vector<OverthinkingCounts>& parts);

}  // namespace offramp
