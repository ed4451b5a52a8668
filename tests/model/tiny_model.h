#pragma once

#include "model/model_file.h"

namespace offramp::model {

/// Returns a small network for 1×4×5 images, with 3 classes and 2 exits.
graph::Graph tiny_graph();

/// Returns the model in tests/data/models/v1-tiny.safetensors: that network with weights from a
/// fixed seed, computed by exact arithmetic, so that they have the same bits on every machine.
ModelFile tiny_model();

/// Returns the model in v2-tiny-policy.safetensors: the same with a certified policy, its aim and
/// path.
ModelFile tiny_certified_model();

}  // namespace offramp::model
