#pragma once

#include <string>
#include <vector>

#include "graph/cost.h"

namespace offramp::graph {

/// One row of a network's layer table.
struct LayerRow {
  int segment = 0;  ///< index into Graph::segments
  bool in_head = false;
  std::string name;  ///< name of the node
  std::string op;    ///< describe() of its operation
  Shape output;      ///< shape of its output
  OpCount count;     ///< its MACs and parameters
};

/// Returns an operation with its attributes: "conv 3x3, stride 2, padding 1, 32 groups".
std::string describe(const Op& op);

/// Returns a row for every node in execution order, each segment's nodes before its head.
/// @throws Error as infer_shapes()
std::vector<LayerRow> layer_rows(const Graph& graph);

/// Returns the layer table as text: a line per node with output shape, MACs and parameters, a
/// subtotal for each segment and head, and the cost of every exit. It ends in a newline.
/// @throws Error as infer_shapes()
std::string layer_table(const Graph& graph);

}  // namespace offramp::graph
