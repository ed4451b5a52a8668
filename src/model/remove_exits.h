#pragma once

#include <vector>

#include "model/model_file.h"

namespace offramp::model {

/// Removes early exits from a model (see remove_exits() of a Graph). The remaining weights are
/// unchanged, and the remaining exits are renumbered. The policy and the loss weights of the
/// removed exits are dropped. The provenance stays, and its details record the removal with the old
/// numbers: "dropped_exits": [{"exits": [1], "of": 3}].
/// @param exits  0-based indices of the exits to remove, increasing, without the last exit
ModelFile remove_exits(const ModelFile& model, const std::vector<int>& exits);

}  // namespace offramp::model
