#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/sweep.h"

namespace offramp::workflow {

/// A curve on the images it is read on, and the same thresholds on those they were chosen on.
struct SweptCurve {
  Curve read, tune;
};

/// Accuracy against cost along one threshold for all early exits, for every criterion and
/// ensemble; replayed from logits.
struct Sweep {
  std::vector<SweptCurve> curves;
  std::int64_t tune_images = 0, images = 0;
};

/// Temperatures, weights and thresholds are chosen on `tune`, and read on `view`.
/// @param costs  [K] relative
Sweep sweep_all(const LogitsView& tune, const LogitsView& view, std::span<const double> costs);

}  // namespace offramp::workflow
