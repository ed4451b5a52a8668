#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "policy/logits.h"
#include "policy/policy.h"

namespace offramp::eval {

/// The result of a policy with one threshold for all early exits.
struct SweepPoint {
  float threshold = 0;
  double accuracy = 0;
  double relative_cost = 0;    ///< mean relative cost of the images
  double harm = 0, help = 0;   ///< rates, compared with the last exit alone
  std::vector<double> shares;  ///< [K] share of the images that stopped at each exit
};

/// Accuracy and cost for a range of thresholds, for one criterion and ensemble.
struct Curve {
  policy::Criterion criterion = policy::Criterion::confidence;
  policy::Ensemble ensemble = policy::Ensemble::off;
  std::vector<SweepPoint> points;  ///< sorted by threshold, and therefore by cost
};

/// Chooses the thresholds for a sweep: for each criterion at most `count` different ones in
/// increasing order. They are quantiles of the scores at which an image changes its exit, followed
/// by 2, which no score reaches. For patience they are 1 … K. A network of one exit has none.
/// @param shape  temperatures, ensemble and its weights; criterion and thresholds are not used
/// @param threads  number of threads; 0 for one per core. The result does not depend on it.
/// @return one list per criterion of `criteria`
/// @throws Error if there is no image or no criterion, or sizes do not match
std::vector<std::vector<float>> sweep_thresholds(const policy::Policy& shape,
                                                 std::span<const policy::Criterion> criteria,
                                                 const policy::LogitsView& view, int count,
                                                 int threads = 0);

/// Computes the result of every threshold from the logits. All criteria are evaluated in one pass,
/// and the logits are not copied. An image does not stop at an early exit where its score is NaN.
/// @param thresholds  one increasing list per criterion  @param costs  [K] relative costs
/// @param threads  number of threads; 0 for one per core. The result does not depend on it.
/// @throws Error if there is no image or no criterion, or sizes do not match
std::vector<Curve> sweep(const policy::Policy& shape, std::span<const policy::Criterion> criteria,
                         std::span<const std::vector<float>> thresholds,
                         const policy::LogitsView& view, std::span<const double> costs,
                         int threads = 0);

}  // namespace offramp::eval
