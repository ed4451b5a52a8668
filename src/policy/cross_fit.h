#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "policy/thresholds.h"

namespace offramp {

/// Parts that the images are divided into.
inline constexpr int kFolds = 10;

/// A path of ever bolder thresholds, and how many images each names right: of those it was laid on,
/// and of those it was not.
struct CrossFittedPath {
  std::vector<Choice> fitted;  ///< [steps] bold_path() by harm; on all images, good where right
  /// [steps] With thresholds of the same mean cost from paths laid without the image that is
  /// judged; between two steps by linear interpolation, which is a fair draw between them. Empty
  /// for one image: there is no other.
  std::vector<double> held_out_right;
};

/// Lays a path on all images and, for each fold, one on all others (cross-fitting: Stone,
/// Cross-validatory choice and assessment of statistical predictions, 1974). Thresholds seem better
/// than they are on the images they were laid on. Scores and answers are taken as they are: that
/// temperatures and ensemble weights were fitted on the same images is not undone. Image i is in
/// fold i mod kFolds.
/// @param judged  N images, at least one  @param right, harmless  [K, N]
/// @param costs  [K] that do not fall
CrossFittedPath cross_fit(const Judgements& judged, std::span<const std::uint8_t> right,
                          std::span<const std::uint8_t> harmless, std::span<const double> costs);

/// Index of the cheapest step, the most careful of equally cheap ones, of the first unbroken run of
/// steps that name at least `least_right` images right, both fitted and held out. nullopt if none
/// does.
std::optional<std::size_t> boldest_keeping(const CrossFittedPath& path, std::int64_t least_right);

}  // namespace offramp
