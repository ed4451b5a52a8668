#pragma once

#include <string>
#include <vector>

#include "graph/cost.h"

namespace offramp {

/// One line of a network's layer table.
struct LayerRow {
  int segment = 0;  ///< index into Graph::segments
  bool in_head = false;
  std::string name;  ///< the node's
  std::string op;    ///< describe() of its operation
  Shape output;
  Count count;
};

/// An operation with its attributes: "conv 3x3, stride 2, padding 1, 32 groups".
std::string describe(const Op& op);

/// Every node of a network in execution order, each segment's nodes before its head.
/// @throws as infer_shapes
std::vector<LayerRow> layer_rows(const Graph& graph);

/// The layer table for people: a line per node with output shape, MACs and parameters, a subtotal
/// for each segment and head, and the cost of every exit; ends in a newline. @throws as
/// infer_shapes
std::string layer_table(const Graph& graph);

}  // namespace offramp
