#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "policy/thresholds.h"

namespace offramp::policy {

/// The number of folds that the images are divided into.
inline constexpr int kFolds = 10;

/// A path of decreasing thresholds and how many images each step classifies correctly: on the
/// images that the path was chosen on, and cross-validated.
struct CrossValidatedPath {
  std::vector<ThresholdOutcome> fitted;  ///< [steps] the path greedy_threshold_path() chose for
                                         ///< little harm; `good` counts correctly classified images
  /// [steps] Images classified correctly at the same mean cost, each with a path chosen without its
  /// fold. A cost between two steps of such a path is interpolated linearly, which is the expected
  /// count of a random choice between them. Empty if there is only one image.
  std::vector<double> cross_validated_correct;
};

/// Chooses a path on all images and, for each fold, one on the images of all other folds
/// (cross-validation: Stone, Cross-validatory choice and assessment of statistical predictions,
/// 1974). This corrects the accuracy of thresholds that is too high on the images they were chosen
/// on. It does not correct for temperatures and ensemble weights, which were fitted on all images.
/// Image i is in fold i mod kFolds.
/// @param exit_predictions  scores and classes of N images, at least one
/// @param correct, harmless  [K, N] from correct_table() and harmless_table()
/// @param costs  [K] must not decrease
/// @param max_threads  largest number of threads; 0: all cores
CrossValidatedPath cross_validate(const ExitPredictions& exit_predictions,
                                  std::span<const std::uint8_t> correct,
                                  std::span<const std::uint8_t> harmless,
                                  std::span<const double> costs, int max_threads = 0);

/// Returns the index of the cheapest step in the first unbroken run of steps that classify at least
/// `least_correct` images correctly, both fitted and cross-validated. Of equally cheap steps it is
/// the first. Returns nullopt if there is no such step.
std::optional<std::size_t> cheapest_accurate_step(const CrossValidatedPath& path,
                                                  std::int64_t least_correct);

/// Returns the index of the step that classifies the most images correctly, cross-validated where
/// possible, of those whose mean cost on the images they were chosen on is at most `most_cost`. Of
/// equally accurate steps it is the cheapest. Returns nullopt if there is no such step.
std::optional<std::size_t> most_accurate_step(const CrossValidatedPath& path, std::int64_t images,
                                              double most_cost);

}  // namespace offramp::policy
