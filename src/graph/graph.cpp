#include "graph/graph.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/overloaded.h"

namespace offramp::graph {
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
  std::string_view operator()(const Clip&) const { return "clip"; }
  std::string_view operator()(const Sigmoid&) const { return "sigmoid"; }
  std::string_view operator()(const HardSigmoid&) const { return "hard_sigmoid"; }
  std::string_view operator()(const HardSwish&) const { return "hard_swish"; }
  std::string_view operator()(const Silu&) const { return "silu"; }
  std::string_view operator()(const Gelu&) const { return "gelu"; }
  std::string_view operator()(const Multiply&) const { return "multiply"; }
  std::string_view operator()(const Slice&) const { return "slice"; }
  std::string_view operator()(const ChannelShuffle&) const { return "channel_shuffle"; }
  std::string_view operator()(const LayerNorm&) const { return "layer_norm"; }
  std::string_view operator()(const AdaptiveAvgPool&) const { return "adaptive_avg_pool"; }
};

/// Collects the parameters of nodes, given the shapes of all tensors.
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
      std::visit(
          core::overloaded{
              [&](const Conv& conv) {
                one("weight",
                    {conv.out_channels, input[0] / conv.groups, conv.kernel.h, conv.kernel.w},
                    ParameterRole::conv_weight);
                if (conv.bias) one("bias", {conv.out_channels}, ParameterRole::bias);
              },
              [&](const Linear& linear) {
                one("weight", {linear.out_features, input[0]}, ParameterRole::linear_weight);
                if (linear.bias) one("bias", {linear.out_features}, ParameterRole::bias);
              },
              [&](const BatchNorm&) {
                one("weight", {input[0]}, ParameterRole::norm_weight);
                one("bias", {input[0]}, ParameterRole::norm_bias);
                one("running_mean", {input[0]}, ParameterRole::running_mean);
                one("running_var", {input[0]}, ParameterRole::running_var);
              },
              [&](const LayerNorm&) {
                one("weight", {input[0]}, ParameterRole::norm_weight);
                one("bias", {input[0]}, ParameterRole::norm_bias);
              },
              [](const ActivationOp auto&) {},
              [](const core::OneOf<Add, Multiply, Concat, Slice, ChannelShuffle, MaxPool, AvgPool,
                                   AdaptiveAvgPool, GlobalAvgPool, SpatialPyramidPool,
                                   Flatten> auto&) {},
          },
          node.op);
    }
  }

  std::vector<Parameter> take() { return std::move(list_); }

 private:
  std::map<std::string, Shape, std::less<>> shapes_;
  std::vector<Parameter> list_;
};

constexpr std::string_view kTo = " to ";

/// Returns the name of merged segments, such as "layer1.0 to layer2.1". If `first` or `last` is
/// such a name already, its first or last unit is used.
std::string joined_name(const std::string& first, const std::string& last) {
  if (first == last) return first;
  const std::size_t end = first.find(kTo);
  const std::size_t begin = last.rfind(kTo);
  return fmt::format("{}{}{}", first.substr(0, end), kTo,
                     begin == std::string::npos ? last : last.substr(begin + kTo.size()));
}

/// Renames the nodes of a head from "exits.<from>.…" to "exits.<to>.…".
void renumber(std::vector<Node>& head, std::size_t from, std::size_t to) {
  const std::string old_prefix = fmt::format("exits.{}.", from);
  std::map<std::string, std::string> renamed;
  for (Node& node : head) {
    // An input is either a node of the head, which may be renamed, or the feature, which is not.
    for (std::string& input : node.inputs)
      if (const auto found = renamed.find(input); found != renamed.end()) input = found->second;
    if (!node.name.starts_with(old_prefix)) continue;
    std::string name = fmt::format("exits.{}.{}", to, node.name.substr(old_prefix.size()));
    renamed.emplace(std::exchange(node.name, name), name);
  }
}

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
      throw Error(
          fmt::format("cannot cut after unit {}: cuts must increase and lie between 1 and {}",
                      unit + 1, count - 1));
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
    joined.name = joined_name(first_name, unit.name);
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

Graph remove_exits(const Graph& graph, const std::vector<int>& exits) {
  const std::vector<int> segments = exit_segments(graph);
  const int last = static_cast<int>(segments.size()) - 1;
  std::vector<bool> joins_next(graph.segments.size());
  int previous = -1;
  for (const int exit_index : exits) {
    if (exit_index <= previous || exit_index >= last)
      throw Error(fmt::format("cannot remove exit {}: exits must increase and lie between 1 and {}",
                              exit_index + 1, last));
    joins_next[static_cast<std::size_t>(segments[static_cast<std::size_t>(exit_index)])] = true;
    previous = exit_index;
  }

  std::vector<int> ends;
  for (std::size_t i = 0; i < graph.segments.size(); ++i)
    if (!joins_next[i]) ends.push_back(static_cast<int>(i));
  Graph result = merge_segments(graph, {ends.begin(), ends.end() - 1});
  std::size_t number = 0;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    Segment& segment = result.segments[i];
    segment.head = graph.segments[static_cast<std::size_t>(ends[i])].head;
    if (segment.head.empty()) continue;
    const auto before = std::ranges::find(segments, ends[i]) - segments.begin();
    renumber(segment.head, static_cast<std::size_t>(before) + 1, ++number);
  }
  infer_shapes(result);
  return result;
}

}  // namespace offramp::graph
