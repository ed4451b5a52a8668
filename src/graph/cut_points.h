#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace offramp::graph {

/// A place where an early exit is possible: one tensor through which everything that reaches the
/// logits passes. After it the network can be cut into segments.
struct CutPoint {
  std::string tensor;  ///< name of the tensor, which is that of the node that computes it
  /// The name for people: the tensor's name without its last part where that names one cut point
  /// only, as "layer1.0" for "layer1.0.relu2"; otherwise the tensor's name.
  std::string name;
  Shape shape;               ///< {C, H, W} of the tensor
  std::int64_t macs = 0;     ///< MACs of the backbone up to the tensor
  double relative_macs = 0;  ///< `macs` divided by those of the network without early exits
  bool operator==(const CutPoint&) const = default;
};

/// An early exit counts as saving nothing if the layers after it cost less than this share of the
/// network.
inline constexpr double kLeastSaving = 0.01;

/// Returns all places of a network where an early exit is possible, in execution order. They do not
/// depend on how the network is divided into segments, nor on the early exits that it has. Of
/// several tensors with the same cost, such as a convolution's and that of the activation after it,
/// only the last is returned. Tensors that are not {C, H, W} are left out, and those after which
/// less than kLeastSaving of the network's MACs remain.
/// @throws Error as infer_shapes()
std::vector<CutPoint> cut_points(const Graph& graph);

/// Returns the last of each group of points that lie within `share` of the network's MACs of the
/// first of the group. Exits so close to each other are worth the same.
std::vector<CutPoint> spaced(const std::vector<CutPoint>& points, double share);

/// Returns the cut points where an exit is worth trying: spaced() by 2 % of the network's MACs.
std::vector<CutPoint> places_for_exits(const Graph& graph);

/// Returns the network without early exits, with one segment for each part between cut points.
/// Layers on which the last exit's logits do not depend are left out.
/// @throws Error if a point is not a cut point of the network, or the points are not in its order
Graph cut_at(const Graph& graph, const std::vector<CutPoint>& points);

/// Checks the kinds of heads and the levels of spatial pyramid pools for with_every_head().
/// @throws UsageError if a kind is unknown or given twice, or there is none, or a level is not in
/// 1 … 64
void check_head_kinds(const std::vector<std::string>& kinds, const std::vector<int>& spp_levels);

/// Returns the network with one early exit for each cut point and kind of head, instead of the
/// exits that it has: exit p × kinds + h is the head of the h-th kind after the p-th point (all
/// 0-based). The exits of one point follow each other on segments without layers, so one forward
/// pass feeds all heads. remove_exits() makes a network with some of the exits from it.
/// @param kinds  names of heads, at least one, see heads()
/// @throws UsageError as check_head_kinds(); Error as cut_at()
Graph with_every_head(const Graph& graph, const std::vector<CutPoint>& points,
                      const std::vector<std::string>& kinds, const std::vector<int>& spp_levels);

}  // namespace offramp::graph
