#include "graph/cut_points.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "graph/cost.h"
#include "graph/network_spec.h"

namespace offramp::graph {
namespace {

using Names = std::set<std::string, std::less<>>;

/// The nodes between the input and the feature of the last exit, in execution order, without those
/// that the feature does not depend on.
std::vector<Node> backbone_nodes(const Graph& graph) {
  std::vector<Node> nodes;
  for (const Segment& segment : graph.segments)
    nodes.insert(nodes.end(), segment.nodes.begin(), segment.nodes.end());
  Names needed = {graph.segments.back().feature};
  std::vector<Node> kept;
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    if (!needed.contains(node->name)) continue;
    needed.insert(node->inputs.begin(), node->inputs.end());
    kept.push_back(std::move(*node));
  }
  std::ranges::reverse(kept);
  return kept;
}

/// For each node, whether the nodes after it read no other tensor of those up to it.
std::vector<bool> carries_everything(const std::vector<Node>& nodes, const std::string& feature) {
  std::map<std::string, std::size_t, std::less<>> last_use;
  for (std::size_t i = 0; i < nodes.size(); ++i)
    for (const std::string& input : nodes[i].inputs) last_use[input] = i;
  last_use[feature] = nodes.size();
  const auto last_use_of = [&](std::string_view tensor) {
    const auto found = last_use.find(tensor);
    return found == last_use.end() ? std::size_t{0} : found->second;
  };
  std::vector<bool> result;
  std::size_t latest = last_use_of(kInput);  // latest use of a tensor before the node's own
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    result.push_back(latest <= i);
    latest = std::max(latest, last_use_of(nodes[i].name));
  }
  return result;
}

std::string without_last_part(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos ? name : name.substr(0, dot);
}

void set_names(std::vector<CutPoint>& points) {
  std::map<std::string, int> uses;  // uses of each shorter name, also as the name of a tensor
  for (const CutPoint& point : points) {
    ++uses[without_last_part(point.tensor)];
    if (point.tensor != without_last_part(point.tensor)) ++uses[point.tensor];
  }
  for (CutPoint& point : points) {
    const std::string shorter = without_last_part(point.tensor);
    point.name = uses[shorter] == 1 ? shorter : point.tensor;
  }
}

const Head& head_called(const std::string& kind) {
  std::vector<std::pair<const Head*, std::string>> named;
  for (const Head& head : heads()) named.emplace_back(&head, head.name);
  return *core::find_by_name(named, "head", kind);
}

}  // namespace

std::vector<CutPoint> cut_points(const Graph& graph) {
  const auto shapes = infer_shapes(graph);
  const std::vector<Node> nodes = backbone_nodes(graph);
  const std::vector<bool> carries = carries_everything(nodes, graph.segments.back().feature);
  const auto total = static_cast<double>(cost_of(graph).plain_macs);
  std::vector<std::int64_t> macs;  // MACs of the backbone up to each node
  std::int64_t sum = 0;
  for (const Node& node : nodes) {
    std::vector<Shape> inputs;
    for (const std::string& input : node.inputs) inputs.push_back(shapes.find(input)->second);
    sum += count_node(node, inputs, shapes.find(node.name)->second).macs;
    macs.push_back(sum);
  }
  std::vector<CutPoint> points;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const Shape& shape = shapes.find(nodes[i].name)->second;
    if (!carries[i] || shape.size() != 3 || macs[i] == 0) continue;
    if (total - static_cast<double>(macs[i]) < kLeastSaving * total) break;
    if (!points.empty() && points.back().macs == macs[i]) points.pop_back();
    points.push_back({nodes[i].name, "", shape, macs[i], static_cast<double>(macs[i]) / total});
  }
  set_names(points);
  return points;
}

std::vector<CutPoint> spaced(const std::vector<CutPoint>& points, double share) {
  std::vector<CutPoint> kept;
  // Share of the MACs at the first point of the group that kept.back() belongs to.
  double first = 0;
  for (const CutPoint& point : points) {
    if (!kept.empty() && point.relative_macs - first < share) {
      kept.back() = point;
      continue;
    }
    first = point.relative_macs;
    kept.push_back(point);
  }
  return kept;
}

std::vector<CutPoint> places_for_exits(const Graph& graph) {
  constexpr double kSpacing = 0.02;
  return spaced(cut_points(graph), kSpacing);
}

Graph cut_at(const Graph& graph, const std::vector<CutPoint>& points) {
  const std::vector<Node> nodes = backbone_nodes(graph);
  const Segment& end = graph.segments.back();
  Graph cut{graph.name, graph.input, graph.classes, {}};
  auto node = nodes.begin();
  for (const CutPoint& point : points) {
    const auto at = std::ranges::find(node, nodes.end(), point.tensor, &Node::name);
    if (at == nodes.end())
      throw Error(fmt::format("cannot cut after {}: it is not a layer of {} after the cut before",
                              core::quote(point.tensor), core::quote(graph.name)));
    cut.segments.push_back({.name = point.name,
                            .nodes = {node, at + 1},
                            .outputs = {point.tensor},
                            .feature = point.tensor,
                            .head = {}});
    node = at + 1;
  }
  cut.segments.push_back({.name = without_last_part(end.feature),
                          .nodes = {node, nodes.end()},
                          .outputs = {end.feature},
                          .feature = end.feature,
                          .head = end.head});
  infer_shapes(cut);  // an edge that passes a cut is an input that is not passed to its segment
  return cut;
}

void check_head_kinds(const std::vector<std::string>& kinds, const std::vector<int>& spp_levels) {
  if (kinds.empty()) throw UsageError("network.head: there must be at least one kind");
  for (const std::string& kind : kinds) {
    head_called(kind);
    if (std::ranges::count(kinds, kind) > 1)
      throw UsageError(fmt::format("network.head: {} is given twice", core::quote(kind)));
  }
  for (const int level : spp_levels)
    if (level < 1 || level > 64)
      throw UsageError(
          fmt::format("network.spp_levels: a level must lie between 1 and 64, got {}", level));
}

Graph with_every_head(const Graph& graph, const std::vector<CutPoint>& points,
                      const std::vector<std::string>& kinds, const std::vector<int>& spp_levels) {
  check_head_kinds(kinds, spp_levels);
  Graph cut = cut_at(graph, points);
  Graph result{cut.name, cut.input, cut.classes, {}};
  for (std::size_t p = 0; p < points.size(); ++p) {
    Segment segment = std::move(cut.segments[p]);
    for (const std::string& kind : kinds) {
      head_called(kind).append(
          segment, points[p].shape,
          {fmt::format("exits.{}", result.segments.size() + 1), spp_levels, cut.classes});
      Segment next = segment;  // the segment for the next kind has no layers and no head yet
      next.nodes.clear();
      next.head.clear();
      result.segments.push_back(std::exchange(segment, std::move(next)));
    }
  }
  result.segments.push_back(std::move(cut.segments.back()));
  infer_shapes(result);
  return result;
}

}  // namespace offramp::graph
