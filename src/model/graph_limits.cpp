#include "model/graph_limits.h"

#include <algorithm>
#include <map>
#include <string>

#include "core/error.h"
#include "core/tensor.h"

namespace offramp {
namespace {

/// The size of a tensor, {C, H, W}; features are channels of one pixel.
struct Size {
  std::int64_t channels = 1, height = 1, width = 1;
  /// Exact below 2^53, and never overflows: sizes that do not fit together yet are multiplied too.
  double elements() const {
    return static_cast<double>(channels) * static_cast<double>(height) * static_cast<double>(width);
  }
};

std::int64_t window(std::int64_t side, int kernel, int stride, int padding) {
  return std::max<std::int64_t>(1, (side + 2 * padding - kernel) / stride + 1);
}

/// What a node makes of its inputs, and the weights it needs for that.
struct Demand {
  Size output;
  double weight_elements = 0;
  double macs = 0;
};

template <typename Windowed>
Size slide(const Windowed& op, const Size& input) {
  return {input.channels, window(input.height, op.kernel, op.stride, op.padding),
          window(input.width, op.kernel, op.stride, op.padding)};
}

Demand demand(const Op& op, const std::vector<Size>& inputs) {
  const Size& input = inputs[0];
  Demand result{input};
  if (const auto* conv = std::get_if<Conv>(&op)) {
    result.output = slide(*conv, input);
    result.output.channels = conv->out_channels;
    const double taps =
        static_cast<double>(input.channels) / conv->groups * conv->kernel * conv->kernel;
    result.weight_elements = taps * static_cast<double>(conv->out_channels);
    result.macs = taps * result.output.elements();
  } else if (const auto* linear = std::get_if<Linear>(&op)) {
    result.output = {linear->out_features, 1, 1};
    result.macs = result.weight_elements =
        input.elements() * static_cast<double>(linear->out_features);
  } else if (const auto* max_pool = std::get_if<MaxPool>(&op)) {
    result.output = slide(*max_pool, input);
  } else if (const auto* avg_pool = std::get_if<AvgPool>(&op)) {
    result.output = slide(*avg_pool, input);
  } else if (std::holds_alternative<GlobalAvgPool>(op)) {
    result.output = {input.channels, 1, 1};
  } else if (std::holds_alternative<Flatten>(op)) {
    result.output = {static_cast<std::int64_t>(input.elements()), 1, 1};
  } else if (const auto* pyramid = std::get_if<SpatialPyramidPool>(&op)) {
    std::int64_t bins = 0;
    for (std::int64_t level : pyramid->levels) bins += level * level;
    result.output = {input.channels * bins, 1, 1};
  } else if (std::holds_alternative<Concat>(op)) {
    result.output.channels = 0;
    for (const Size& part : inputs) result.output.channels += part.channels;
  }
  return result;
}

}  // namespace

void check_limits(const Graph& graph) {
  std::map<std::string, Size, std::less<>> sizes;
  Size input{graph.input[0], 1, 1};
  if (graph.input.size() == 3) input = {graph.input[0], graph.input[1], graph.input[2]};
  if (input.elements() > static_cast<double>(kMaxTensorElements))
    throw Error("input {} has more than {} elements", to_string(graph.input), kMaxTensorElements);
  sizes.emplace(kInput, input);

  double macs = 0;
  const auto visit = [&](const Segment& segment, const Node& node) {
    std::vector<Size> inputs;
    for (const std::string& name : node.inputs)
      if (const auto found = sizes.find(name); found != sizes.end())
        inputs.push_back(found->second);
    if (inputs.empty()) return;
    const Demand need = demand(node.op, inputs);
    macs += need.macs;
    const auto refuse = [&](std::string_view what, auto limit) {
      throw Error("segment {}, node {}: {} more than {}", quote(segment.name), quote(node.name),
                  what, limit);
    };
    if (need.output.elements() > static_cast<double>(kMaxTensorElements))
      refuse("the output's elements are", kMaxTensorElements);
    if (need.weight_elements > static_cast<double>(kMaxWeightElements))
      refuse("the weight's elements are", kMaxWeightElements);
    if (macs > kMaxMacs) refuse("the MACs so far are", kMaxMacs);
    sizes.insert_or_assign(node.name, need.output);
  };
  for (const Segment& segment : graph.segments) {
    for (const Node& node : segment.nodes) visit(segment, node);
    for (const Node& node : segment.head) visit(segment, node);
  }
}

}  // namespace offramp
