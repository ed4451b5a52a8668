#pragma once

#include <cstdint>

#include "data/dataset.h"

namespace offramp {

/// Classes that can be drawn.
constexpr int kMaxSyntheticClasses = 20;

/// Drawn shapes of graded difficulty: contrast, clutter, occlusion, noise, pose. The first ten
/// classes are circle, ring, square, triangle, pentagon, star, cross and three tiles of four
/// squares; more can be asked for. Image i of a part is a function of (seed, part, i, height,
/// width, classes) alone; labels go round the classes. What tells the classes apart is the
/// arrangement of the whole shape, so that a shallow network stays well below a deep one.
/// @param height,width  32 or more
/// @throws UsageError if a size, count or number of classes (2 … 20) is out of range
Dataset synthetic_data(int height, int width, std::int64_t count, Part part, std::uint64_t seed,
                       int classes = 10);

/// How difficult image `index` is: 0 clear … 1 faint, cluttered, covered and noisy. Uniform over
/// the images of a part.
float synthetic_difficulty(Part part, std::int64_t index, std::uint64_t seed);

}  // namespace offramp
