#pragma once

#include "model/model_file.h"

namespace offramp {

/// A network of 1×4×5 images, 3 classes and 2 exits, small enough to write down.
Graph tiny_graph();

/// That network with weights drawn from a fixed seed by exact arithmetic: the same bits on every
/// machine. What tests/data/models/v1-tiny.safetensors holds.
ModelFile tiny_model();

/// The same with a certified policy, its aim and its path: v2-tiny-policy.safetensors.
ModelFile tiny_certified_model();

}  // namespace offramp
