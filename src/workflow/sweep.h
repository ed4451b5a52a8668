#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/sweep.h"

namespace offramp::workflow {

/// A curve of the same thresholds on two sets of images.
struct SweptCurve {
  eval::Curve read;  ///< curve on the evaluated images
  eval::Curve tune;  ///< curve on the tune images, on which the thresholds were chosen
};

/// Curves of accuracy against cost, one for every criterion and ensemble. Along a curve, all early
/// exits share one threshold, which changes from point to point. Replayed from logits.
struct Sweep {
  std::vector<SweptCurve> curves;
  std::int64_t tune_images = 0, images = 0;
};

/// Computes all curves. Temperatures, ensemble weights and thresholds are chosen on `tune`.
/// @param view  logits of the evaluated images  @param costs  [K] relative cost of each exit
Sweep sweep_all(const policy::LogitsView& tune, const policy::LogitsView& view,
                std::span<const double> costs);

}  // namespace offramp::workflow
