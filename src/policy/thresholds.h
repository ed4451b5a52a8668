#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "policy/policy.h"

namespace offramp::policy {

/// The score and the predicted class of every exit for every image under a policy. They do not
/// depend on its thresholds.
struct ExitPredictions {
  int exits = 0;
  std::int64_t images = 0;
  std::vector<float> scores;          ///< [K, N]
  std::vector<std::int32_t> answers;  ///< [K, N] predicted classes
};

/// Computes the score and the predicted class of every exit for every image.
/// @param logits  [K, N, classes]
ExitPredictions predict_exits(const Policy& policy, std::span<const float> logits, int classes);

/// The data from which thresholds are chosen: for each exit and image the score, and whether it is
/// good to stop there (correct, or harmless). The memory belongs to the caller.
struct ExitTable {
  int exits = 0;
  std::int64_t images = 0;
  std::span<const float> scores;       ///< [K, N]; a NaN reaches no threshold
  std::span<const std::uint8_t> good;  ///< [K, N] 1 if it is good to stop there, otherwise 0
  std::span<const double> costs;       ///< [K] cost of an image that stops at exit k
};

/// Thresholds and their result on the images of a table.
struct ThresholdOutcome {
  Thresholds thresholds;  ///< [K - 1]
  std::int64_t good = 0;  ///< number of images that stop where it is good
  double total_cost = 0;  ///< sum of the images' costs; equal counts per exit give equal bits
};

/// The limits that thresholds must satisfy, and which thresholds within the limits are the best.
/// `offramp calibrate` searches for the most good images within a cost; bench/guarantee searches
/// for the lowest cost with enough good images.
struct SearchGoal {
  std::int64_t least_good = 0;  ///< smallest allowed number of good images
  double most_cost = std::numeric_limits<double>::infinity();  ///< largest allowed total cost
  /// True: the lowest cost is best; false: the most good images. The other quantity breaks ties.
  bool cheapest = true;
};

/// Counts the good images and the cost that thresholds give.
ThresholdOutcome evaluate_thresholds(const ExitTable& table, const Thresholds& thresholds);

/// Returns evaluate_thresholds() of every step of a path, but is faster. From one step to the next
/// no threshold may rise.
std::vector<ThresholdOutcome> evaluate_threshold_path(const ExitTable& table,
                                                      const std::vector<Thresholds>& path);

/// Returns the best single threshold for all early exits by an exact search. Returns nullopt if
/// none is within the limits.
std::optional<ThresholdOutcome> search_shared(const ExitTable& table, const SearchGoal& goal);

/// Returns the best thresholds, one per early exit. The search is exact for up to two early exits
/// and about 20,000 images. For more, it is exact over the last early exit's threshold and uses a
/// grid of quantiles for the others, then improves one exit at a time. The result is never worse
/// than that of search_shared(). Returns nullopt if no thresholds are within the limits.
std::optional<ThresholdOutcome> search_each(const ExitTable& table, const SearchGoal& goal);

/// The number of quantiles of an exit's scores that its threshold takes along a path.
inline constexpr int kPathLevels = 200;

/// Returns a greedy path of thresholds, beginning with thresholds at which no image stops early.
/// Each step lowers the threshold of one exit to the next of `levels` quantiles of its scores. The
/// exit is the one with the largest gain: the maximum, over all quantiles it could be lowered to,
/// of (cost saved) / (good images lost + 1).
std::vector<Thresholds> greedy_threshold_path(const ExitTable& table, int levels);

}  // namespace offramp::policy
