#pragma once

#include <vector>

#include "model/model_file.h"

namespace offramp {

/// Takes early exits out of a model, see without_exits of a Graph: the weights that stay are the
/// same bytes, loss weights are cut, and the exits are numbered anew. Its policy, which spoke of
/// other exits, goes. Provenance stays; its details say what was taken out:
/// "dropped_exits": [{"exits": [1], "of": 3}], exits as they were numbered before.
/// @param exits  0-based, increasing, none the last
ModelFile without_exits(const ModelFile& model, const std::vector<int>& exits);

}  // namespace offramp
