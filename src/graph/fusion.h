#pragma once

#include "graph/graph.h"

namespace offramp::graph {

/// How an operation can be fused into the operation before it. The runtime fuses batch norms, sums
/// and activations (relu and all others) into convolutions; the trainer fuses sums and relu into
/// batch norms.
enum class Fusion { none, batch_norm, sum, relu, activation };

/// Returns how an operation can be fused; `none` if it cannot.
Fusion fusion_of(const Op& op);

}  // namespace offramp::graph
