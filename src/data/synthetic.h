#pragma once

#include <cstdint>

#include "data/dataset.h"

namespace offramp {

/// Ten classes of drawn shapes (circle, square, triangle, star, cross, ring, …) of graded
/// difficulty: contrast, clutter, occlusion, noise, pose. Image i of a part is a function of (seed,
/// part, i, height, width) alone; labels go round the classes. Hard enough that a shallow network
/// stays well below a deep one.
Dataset synthetic_data(int height, int width, std::int64_t count, Part part, std::uint64_t seed,
                       int classes = 10);

}  // namespace offramp
