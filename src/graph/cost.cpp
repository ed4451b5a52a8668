#include "graph/cost.h"

#include "core/error.h"
#include "core/overloaded.h"
#include "core/tensor.h"

namespace offramp::graph {
namespace {

void add(std::int64_t& sum, std::int64_t value) {
  if (__builtin_add_overflow(sum, value, &sum))
    throw Error("the network has more than 2^63 - 1 multiply-accumulates");
}

void add(OpCount& sum, const OpCount& value) {
  add(sum.macs, value.macs);
  add(sum.parameters, value.parameters);
}

}  // namespace

OpCount count_node(const Node& node, const std::vector<Shape>& inputs, const Shape& output) {
  return std::visit(
      core::overloaded{
          [&](const Conv& conv) -> OpCount {
            const std::int64_t per_output =
                inputs[0][0] / conv.groups * conv.kernel.h * conv.kernel.w;
            return {core::element_count(output) * per_output,
                    conv.out_channels * per_output + (conv.bias ? conv.out_channels : 0)};
          },
          [&](const Linear& linear) -> OpCount {
            const std::int64_t weights = inputs[0][0] * linear.out_features;
            return {weights, weights + (linear.bias ? linear.out_features : 0)};
          },
          [&](const core::OneOf<BatchNorm, LayerNorm> auto&) -> OpCount {
            return {0, 2 * inputs[0][0]};
          },
          [](const ActivationOp auto&) -> OpCount { return {}; },
          [](const core::OneOf<Add, Multiply, Concat, Slice, ChannelShuffle, MaxPool, AvgPool,
                               AdaptiveAvgPool, GlobalAvgPool, SpatialPyramidPool, Flatten> auto&)
              -> OpCount { return {}; },
      },
      node.op);
}

Cost cost_of(const Graph& graph) {
  const auto shapes = infer_shapes(graph);
  const auto count = [&](const std::vector<Node>& nodes) {
    OpCount sum;
    for (const Node& node : nodes) {
      std::vector<Shape> inputs;
      for (const std::string& input : node.inputs) inputs.push_back(shapes.find(input)->second);
      add(sum, count_node(node, inputs, shapes.find(node.name)->second));
    }
    return sum;
  };

  Cost cost;
  OpCount plain;
  std::int64_t so_far = 0;
  for (const Segment& segment : graph.segments) {
    const SegmentCost& added =
        cost.segments.emplace_back(SegmentCost{count(segment.nodes), count(segment.head)});
    add(plain, added.body);
    add(so_far, added.body.macs);
    add(so_far, added.head.macs);
    if (segment.head.empty()) continue;
    cost.exit_macs.push_back(so_far);
    cost.truncated_macs.push_back(plain.macs + added.head.macs);
  }
  add(plain, cost.segments.back().head);
  cost.plain_macs = plain.macs;
  cost.plain_parameters = plain.parameters;
  return cost;
}

std::vector<double> Cost::relative_costs() const {
  std::vector<double> costs;
  for (std::size_t k = 0; k < exit_macs.size(); ++k) costs.push_back(relative(static_cast<int>(k)));
  return costs;
}

std::int64_t Cost::total_parameters() const {
  std::int64_t sum = 0;
  for (const SegmentCost& segment : segments)
    sum += segment.body.parameters + segment.head.parameters;
  return sum;
}

}  // namespace offramp::graph
