#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "policy/thresholds.h"

namespace offramp {

/// Parts that the images are divided into.
inline constexpr int kFolds = 10;

/// A path of ever bolder thresholds, laid on images whose labels are known, with what each names
/// right of the images it was laid on and of images it was not.
struct CrossFittedPath {
  std::vector<Thresholds> thresholds;  ///< bold_path() by harm
  std::vector<Choice> fitted;          ///< on all images, good where right
  /// Right images when each fold's are judged by a path laid on the other folds, at the first of
  /// its thresholds that cost no more than these do.
  std::vector<std::int64_t> held_out_right;
};

/// Cross-fitting (Stone, Cross-validatory choice and assessment of statistical predictions, 1974).
/// Thresholds that are laid where they are counted seem better than they are; those of the same
/// cost laid on other images do not. Image i is in fold i mod kFolds.
/// @param judged  N images  @param right, harmless  [K, N]  @param costs  [K]
CrossFittedPath cross_fit(const Judgements& judged, std::span<const std::uint8_t> right,
                          std::span<const std::uint8_t> harmless, std::span<const double> costs);

/// Index of the boldest thresholds before which, from the first that do on, all name at least
/// `least_right` images right, fitted and held out. nullopt if none do.
std::optional<std::size_t> boldest_with(const CrossFittedPath& path, std::int64_t least_right);

}  // namespace offramp
