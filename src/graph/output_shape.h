#pragma once

#include <vector>

#include "graph/graph.h"

namespace offramp::graph {

/// Returns the shape of the output of one operation, for code that builds a graph step by step.
/// @throws Error, without a place, if the shapes of the inputs or an attribute are not allowed
Shape output_shape(const Op& op, const std::vector<Shape>& inputs);

}  // namespace offramp::graph
