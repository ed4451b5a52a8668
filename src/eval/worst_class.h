#pragma once

#include <cstdint>

#include "eval/policy_metrics.h"

namespace offramp::eval {

/// The class for which a policy has the highest bound of harm. If the policy was chosen with the
/// same images, the bound is not a guarantee; it only describes these images.
struct WorstClass {
  int label = 0;
  std::int64_t images = 0;   ///< number of images of that class
  std::int64_t counted = 0;  ///< number of these images that are harmed, or classified differently
  double upper_bound = 0;    ///< Clopper–Pearson bound at level / number of classes
};

/// Returns the class with the highest bound. A class without images has the bound 1.
/// @param label_free  if true, counts images whose class differs from the reference instead of harm
/// @param level  in (0, 1)
/// @throws Error if sizes do not match or a label is out of range
WorstClass worst_class(const PolicyOutcome& outcome, int classes, bool label_free, double level);

}  // namespace offramp::eval
