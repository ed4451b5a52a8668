#include "graph/graph.h"

#include "core/error.h"

namespace offramp {
namespace {

struct OpName {
  std::string_view operator()(const Conv&) const { return "conv"; }
  std::string_view operator()(const BatchNorm&) const { return "batch_norm"; }
  std::string_view operator()(const Relu&) const { return "relu"; }
  std::string_view operator()(const Relu6&) const { return "relu6"; }
  std::string_view operator()(const Add&) const { return "add"; }
  std::string_view operator()(const Concat&) const { return "concat"; }
  std::string_view operator()(const MaxPool&) const { return "max_pool"; }
  std::string_view operator()(const AvgPool&) const { return "avg_pool"; }
  std::string_view operator()(const GlobalAvgPool&) const { return "global_avg_pool"; }
  std::string_view operator()(const SpatialPyramidPool&) const { return "spatial_pyramid_pool"; }
  std::string_view operator()(const Flatten&) const { return "flatten"; }
  std::string_view operator()(const Linear&) const { return "linear"; }
};

/// Lists the parameters of nodes whose shapes are known.
class ParameterList {
 public:
  explicit ParameterList(const Graph& graph) : shapes_(infer_shapes(graph)) {}

  void add(const std::vector<Node>& nodes, int segment, bool in_head) {
    for (const Node& node : nodes) {
      const Shape& input = shapes_.find(node.inputs.front())->second;
      const auto one = [&](std::string_view suffix, std::vector<std::int64_t> shape,
                           ParameterRole role) {
        list_.push_back(
            {fmt::format("{}.{}", node.name, suffix), std::move(shape), role, segment, in_head});
      };
      if (const auto* conv = std::get_if<Conv>(&node.op)) {
        one("weight", {conv->out_channels, input[0] / conv->groups, conv->kernel, conv->kernel},
            ParameterRole::conv_weight);
        if (conv->bias) one("bias", {conv->out_channels}, ParameterRole::bias);
      } else if (const auto* linear = std::get_if<Linear>(&node.op)) {
        one("weight", {linear->out_features, input[0]}, ParameterRole::linear_weight);
        if (linear->bias) one("bias", {linear->out_features}, ParameterRole::bias);
      } else if (std::holds_alternative<BatchNorm>(node.op)) {
        one("weight", {input[0]}, ParameterRole::norm_weight);
        one("bias", {input[0]}, ParameterRole::norm_bias);
        one("running_mean", {input[0]}, ParameterRole::running_mean);
        one("running_var", {input[0]}, ParameterRole::running_var);
      }
    }
  }

  std::vector<Parameter> take() { return std::move(list_); }

 private:
  std::map<std::string, Shape, std::less<>> shapes_;
  std::vector<Parameter> list_;
};

}  // namespace

std::string_view op_name(const Op& op) { return std::visit(OpName{}, op); }

std::vector<int> exit_segments(const Graph& graph) {
  std::vector<int> exits;
  for (std::size_t i = 0; i < graph.segments.size(); ++i)
    if (!graph.segments[i].head.empty()) exits.push_back(static_cast<int>(i));
  return exits;
}

std::vector<Parameter> parameters(const Graph& graph) {
  ParameterList list(graph);
  for (std::size_t i = 0; i < graph.segments.size(); ++i) {
    list.add(graph.segments[i].nodes, static_cast<int>(i), false);
    list.add(graph.segments[i].head, static_cast<int>(i), true);
  }
  return list.take();
}

Graph merge_segments(const Graph& units, const std::vector<int>& after) {
  const int count = static_cast<int>(units.segments.size());
  int previous = -1;
  for (const int unit : after) {
    if (unit <= previous || unit >= count - 1)
      throw Error("cannot cut after unit {}: cuts must increase and lie between 1 and {}", unit + 1,
                  count - 1);
    previous = unit;
  }

  Graph merged{units.name, units.input, units.classes, {}};
  std::size_t next = 0;
  std::string first_name;
  Segment joined;
  for (int i = 0; i < count; ++i) {
    const Segment& unit = units.segments[static_cast<std::size_t>(i)];
    if (first_name.empty()) first_name = unit.name;
    joined.nodes.insert(joined.nodes.end(), unit.nodes.begin(), unit.nodes.end());
    const bool cut = next < after.size() && after[next] == i;
    if (!cut && i + 1 < count) continue;
    joined.name = first_name == unit.name ? first_name : first_name + " to " + unit.name;
    joined.outputs = unit.outputs;
    joined.feature = unit.feature;
    if (i + 1 == count) joined.head = unit.head;
    merged.segments.push_back(std::move(joined));
    joined = {};
    first_name.clear();
    ++next;
  }
  return merged;
}

}  // namespace offramp
