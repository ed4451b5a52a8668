#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "policy/logits.h"
#include "policy/policy.h"

namespace offramp {

/// What one threshold for all early exits does.
struct SweepPoint {
  float threshold = 0;
  double accuracy = 0;
  double relative_cost = 0;    ///< mean
  double harm = 0, help = 0;   ///< against exit K's answer under the same policy
  std::vector<double> shares;  ///< [K] of the images, by the exit they stopped at
};

/// Accuracy against cost along one threshold, for one criterion and ensemble.
struct Curve {
  Criterion criterion = Criterion::confidence;
  Ensemble ensemble = Ensemble::off;
  std::vector<SweepPoint> points;  ///< by rising threshold, so by rising cost
};

/// At most `count` thresholds between which the images of a set change their exits, rising and all
/// different: quantiles of the scores that decide, and last one that none reaches, 2; for patience
/// 1 … K. One list per criterion of `criteria`; empty for a network of one exit.
/// @param shape  temperatures, ensemble and its weights; criterion and thresholds are not used
/// @param threads  that work; 0 for one per core. The result does not depend on it.
/// @throws Error if there is no image or no criterion, or sizes do not fit
std::vector<std::vector<float>> sweep_thresholds(const Policy& shape,
                                                 std::span<const Criterion> criteria,
                                                 const LogitsView& view, int count,
                                                 int threads = 0);

/// Replays thresholds on images, all criteria in one pass over the logits; it holds no copy of
/// them. An image whose score is NaN stops at no early exit.
/// @param thresholds  one rising list per criterion  @param costs  [K] relative
/// @param threads  that work; 0 for one per core. The result does not depend on it.
/// @throws Error if there is no image or no criterion, or sizes do not fit
std::vector<Curve> sweep(const Policy& shape, std::span<const Criterion> criteria,
                         std::span<const std::vector<float>> thresholds, const LogitsView& view,
                         std::span<const double> costs, int threads = 0);

}  // namespace offramp
