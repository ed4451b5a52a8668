#pragma once

#include <cstdint>

#include "graph/graph.h"

namespace offramp {

/// Returns a small random network that depends only on the seed and that infer_shapes accepts. It
/// has odd sizes, any operation after any other, grouped, depthwise, dilated and lopsided
/// convolutions, sums and products with older tensors, squeeze and excitation, segments that pass
/// on one to three tensors, with and without an exit, and every kind of head.
graph::Graph random_graph(std::uint64_t seed);

}  // namespace offramp
