#pragma once

#include <cstdint>

#include "graph/graph.h"

namespace offramp {

/// A small network that depends on the seed alone: odd sizes, any operation after any other,
/// grouped and depthwise convolutions, sums with tensors of several ages, segments that hand on one
/// to three tensors, with and without an exit, and every kind of head. Accepted by infer_shapes.
Graph random_graph(std::uint64_t seed);

}  // namespace offramp
