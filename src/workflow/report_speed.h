#pragma once

#include <string>
#include <vector>

#include "core/predictor.h"
#include "report/report.h"
#include "workflow/evaluate.h"

namespace offramp::workflow {

/// A way to run a network that is to be timed.
struct TimedPolicy {
  std::string name;
  policy::Policy policy;
  double relative_cost = 0;  ///< mean over the images
};

/// Times a network on some of a set's images: for each policy one image at a time, and all of them
/// together. Images really stop. The policies take turns, and each is timed for about a second.
/// @return one row for each policy, with medians
std::vector<report::SpeedRow> measure_speed(core::Predictor& predictor, const EvaluationSet& set,
                                            const std::vector<TimedPolicy>& policies);

}  // namespace offramp::workflow
