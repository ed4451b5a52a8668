#pragma once

#include "graph/graph.h"

namespace offramp {

/// What an operation can be to the one before it, which computes it along with itself: the runtime
/// fuses norms, sums and activations into convolutions, the trainer sums and activations into batch
/// norms.
enum class Fusion { none, batch_norm, sum, relu, relu6 };

Fusion fusion_of(const Op& op);

}  // namespace offramp
