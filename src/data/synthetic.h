#pragma once

#include <cstdint>

#include "data/dataset.h"

namespace offramp::data {

/// Largest number of classes of synthetic images.
constexpr int kMaxSyntheticClasses = 20;

/// Draws images of shapes whose difficulty varies: contrast, clutter, occlusion, noise and pose.
/// The first ten classes are circle, ring, square, triangle, pentagon, star, cross and three tiles
/// of four squares. Image i of a part is a function of (seed, part, i, height, width, classes)
/// alone and has label i % classes. The classes differ in the arrangement of the whole shape, not
/// in local detail, so a shallow network is much less accurate than a deep one.
/// @param height,width  in pixels, 32 or more
/// @throws UsageError if a size, count or number of classes (2 … 20) is out of range
Dataset synthetic_data(int height, int width, std::int64_t count, Part part, std::uint64_t seed,
                       int classes = 10);

/// Returns the difficulty of image `index`, from 0 (high contrast, nothing else in the image) to 1
/// (low contrast, cluttered, partly covered and noisy). It is uniformly distributed over the images
/// of a part.
float synthetic_difficulty(Part part, std::int64_t index, std::uint64_t seed);

}  // namespace offramp::data
