#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace offramp {

/// Multiply-accumulates and parameters. A convolution costs out_elements × (C / groups) × kernel²
/// MACs, a linear layer in × out; batch norm, activations, additions and pools count as none (the
/// field's convention). Parameters are trained values only, running statistics are not.
struct Count {
  std::int64_t macs = 0;
  std::int64_t parameters = 0;
  bool operator==(const Count&) const = default;
};

Count count_node(const Node& node, const std::vector<Shape>& inputs, const Shape& output);

struct SegmentCost {
  Count body;
  Count head;  ///< zero where there is no head
};

/// Cost of a network whose exits may be taken.
struct Cost {
  std::vector<SegmentCost> segments;
  std::int64_t plain_macs = 0;  ///< the backbone with its own classifier only
  std::int64_t plain_parameters = 0;
  /// [K] MACs of an image that leaves at exit k: its segments, and every head it was asked at on
  /// the way.
  std::vector<std::int64_t> exit_macs;
  std::vector<std::int64_t> alone_macs;  ///< [K] of the network cut off at exit k: no other head

  double relative(int exit_index) const {
    return static_cast<double>(exit_macs[static_cast<std::size_t>(exit_index)]) /
           static_cast<double>(plain_macs);
  }
  /// [K] of each exit.
  std::vector<double> relative_costs() const;
  std::int64_t total_parameters() const;
};

Cost cost_of(const Graph& graph);

}  // namespace offramp
