#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace offramp::graph {

/// The number of multiply-accumulates (MACs) and parameters. A convolution has out_elements × (C /
/// groups) × kernel.h × kernel.w MACs and a linear layer in × out. By convention, all other
/// operations have none. Parameters are trained values, without running statistics.
struct OpCount {
  std::int64_t macs = 0;
  std::int64_t parameters = 0;
  bool operator==(const OpCount&) const = default;
};

/// Counts the MACs and parameters of one node. @param inputs, output  shapes of its tensors
OpCount count_node(const Node& node, const std::vector<Shape>& inputs, const Shape& output);

/// The cost of one segment.
struct SegmentCost {
  OpCount body;  ///< the nodes of the backbone
  OpCount head;  ///< zero where there is no head
};

/// The cost of a network with K exits.
struct Cost {
  std::vector<SegmentCost> segments;
  std::int64_t plain_macs = 0;  ///< the backbone with only its own classifier
  std::int64_t plain_parameters = 0;
  /// [K] MACs of an image that stops at exit k: of all segments and heads up to exit k.
  std::vector<std::int64_t> exit_macs;
  /// [K] MACs of the network truncated at exit k, without any other head.
  std::vector<std::int64_t> truncated_macs;

  /// Returns the cost of one exit divided by that of the plain network; 1 if the plain network has
  /// no MACs.
  double relative(int exit_index) const {
    if (plain_macs == 0) return 1;
    return static_cast<double>(exit_macs[static_cast<std::size_t>(exit_index)]) /
           static_cast<double>(plain_macs);
  }
  /// Returns [K] the relative cost of each exit.
  std::vector<double> relative_costs() const;
  /// Returns the number of parameters of the backbone and all heads.
  std::int64_t total_parameters() const;
};

/// Computes the cost of a network. @throws Error as infer_shapes(), or if a count overflows
Cost cost_of(const Graph& graph);

}  // namespace offramp::graph
