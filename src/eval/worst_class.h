#pragma once

#include <cstdint>

#include "eval/policy_metrics.h"

namespace offramp {

/// The class that a policy does worst by. Shown, not promised: where the policy was chosen with
/// the same images, the bound is a description of them.
struct WorstClass {
  int label = 0;
  std::int64_t images = 0;   ///< of that class
  std::int64_t counted = 0;  ///< harmed, or answered otherwise, among them
  double upper_bound = 0;    ///< Clopper–Pearson, at the level divided by the number of classes
};

/// The class with the highest bound; one without images has the bound 1.
/// @param label_free  count answers other than the reference's rather than harm
/// @param level  in (0, 1)  @throws Error if sizes do not fit or a label is not one of `classes`
WorstClass worst_class(const PolicyOutcome& outcome, int classes, bool label_free, double level);

}  // namespace offramp
