#include "tests/support/imagenet_graphs.h"

#include <fmt/format.h>

#include "graph/graph_builder.h"

namespace offramp {
namespace {

using graph::append;
using graph::Conv;
using graph::Node;

/// Appends nodes to one list, and remembers the newest tensor.
class Chain {
 public:
  std::vector<Node> nodes;
  std::string x = std::string(graph::kInput);
  std::int64_t channels = 3;

  void op(const std::string& name, graph::Op operation) {
    x = append(nodes, name, std::move(operation), {x});
  }
  /// Appends a convolution without bias and its batch norm, whose padding keeps the size.
  void conv(const std::string& conv_name, const std::string& norm_name, std::int64_t out,
            int kernel, int stride = 1, int groups = 1) {
    x = graph::append_conv_norm(nodes, conv_name, norm_name,
                                {.out_channels = out,
                                 .kernel = kernel,
                                 .stride = stride,
                                 .padding = kernel / 2,
                                 .groups = groups},
                                x);
    channels = out;
  }
  /// The same with an activation, named "<name>.0" to "<name>.2".
  void layer(const std::string& name, std::int64_t out, int kernel, int stride, int groups,
             graph::Op activation) {
    conv(name + ".0", name + ".1", out, kernel, stride, groups);
    op(name + ".2", std::move(activation));
  }
  void squeeze_and_excite(const std::string& name, std::int64_t squeezed, graph::Op activation,
                          graph::Op gate) {
    const std::string image = x;
    op(name + ".avgpool", graph::GlobalAvgPool{});
    op(name + ".fc1", graph::Linear{.out_features = squeezed});
    op(name + ".activation", std::move(activation));
    op(name + ".fc2", graph::Linear{.out_features = channels});
    op(name + ".scale_activation", std::move(gate));
    x = append(nodes, name, graph::Multiply{}, {image, x});
  }
  void add(const std::string& name, const std::string& shortcut) {
    x = append(nodes, name, graph::Add{}, {x, shortcut});
  }

  graph::Graph finish(std::string name, int side, std::vector<Node> head) {
    graph::Graph graph{std::move(name), {3, side, side}, 1000, {}};
    graph.segments.push_back(graph::make_segment("body", std::move(nodes)));
    graph.segments[0].head = std::move(head);
    return graph;
  }
};

/// Rounds to a multiple of 8 that is at least 0.9 of the value, as torchvision does.
std::int64_t multiple_of_8(double value) {
  auto rounded = std::max<std::int64_t>(8, static_cast<std::int64_t>(value + 4) / 8 * 8);
  if (static_cast<double>(rounded) < 0.9 * value) rounded += 8;
  return rounded;
}

}  // namespace

graph::Graph resnet50_graph(int side) {
  Chain chain;
  chain.conv("conv1", "bn1", 64, 7, 2);
  chain.op("relu", graph::Relu{});
  chain.op("maxpool", graph::MaxPool{3, 2, 1});
  const int blocks[] = {3, 4, 6, 3};
  for (int stage = 0; stage < 4; ++stage)
    for (int i = 0; i < blocks[stage]; ++i) {
      const std::string name = fmt::format("layer{}.{}", stage + 1, i);
      const std::int64_t width = 64 << stage;
      const int stride = stage > 0 && i == 0 ? 2 : 1;
      std::string shortcut = chain.x;
      if (i == 0)
        shortcut =
            graph::append_conv_norm(chain.nodes, name + ".downsample.0", name + ".downsample.1",
                                    {.out_channels = 4 * width, .stride = stride}, shortcut);
      chain.conv(name + ".conv1", name + ".bn1", width, 1);
      chain.op(name + ".relu1", graph::Relu{});
      chain.conv(name + ".conv2", name + ".bn2", width, 3, stride);
      chain.op(name + ".relu2", graph::Relu{});
      chain.conv(name + ".conv3", name + ".bn3", 4 * width, 1);
      chain.add(name + ".add", shortcut);
      chain.op(name, graph::Relu{});
    }
  std::vector<Node> head;
  graph::append_classifier(head, chain.x, 1000);
  return chain.finish("resnet50", side, head);
}

graph::Graph mobilenet_v3_large_graph(int side) {
  struct Block {
    int kernel;
    std::int64_t expanded, out;
    bool has_se, has_hard_swish;
    int stride;
  };
  const Block blocks[] = {
      {3, 16, 16, false, false, 1}, {3, 64, 24, false, false, 2}, {3, 72, 24, false, false, 1},
      {5, 72, 40, true, false, 2},  {5, 120, 40, true, false, 1}, {5, 120, 40, true, false, 1},
      {3, 240, 80, false, true, 2}, {3, 200, 80, false, true, 1}, {3, 184, 80, false, true, 1},
      {3, 184, 80, false, true, 1}, {3, 480, 112, true, true, 1}, {3, 672, 112, true, true, 1},
      {5, 672, 160, true, true, 2}, {5, 960, 160, true, true, 1}, {5, 960, 160, true, true, 1}};
  Chain chain;
  chain.layer("features.0", 16, 3, 2, 1, graph::HardSwish{});
  int index = 1;
  for (const Block& block : blocks) {
    const std::string name = fmt::format("features.{}", index++);
    const graph::Op activation =
        block.has_hard_swish ? graph::Op(graph::HardSwish{}) : graph::Op(graph::Relu{});
    const std::string shortcut = chain.x;
    const bool has_shortcut = block.stride == 1 && chain.channels == block.out;
    int part = 0;
    const auto next = [&] { return fmt::format("{}.block.{}", name, part++); };
    if (block.expanded != chain.channels) chain.layer(next(), block.expanded, 1, 1, 1, activation);
    chain.layer(next(), block.expanded, block.kernel, block.stride,
                static_cast<int>(block.expanded), activation);
    if (block.has_se)
      chain.squeeze_and_excite(next(), multiple_of_8(static_cast<double>(block.expanded) / 4),
                               graph::Relu{}, graph::HardSigmoid{});
    const std::string project = next();
    chain.conv(project + ".0", project + ".1", block.out, 1);
    if (has_shortcut) chain.add(name, shortcut);
  }
  chain.layer("features.16", 960, 1, 1, 1, graph::HardSwish{});
  std::vector<Node> head;
  std::string x = append(head, "avgpool", graph::GlobalAvgPool{}, {chain.x});
  x = append(head, "classifier.0", graph::Linear{.out_features = 1280}, {x});
  x = append(head, "classifier.1", graph::HardSwish{}, {x});
  append(head, "classifier.3", graph::Linear{.out_features = 1000}, {x});
  return chain.finish("mobilenet_v3_large", side, head);
}

graph::Graph efficientnet_b0_graph(int side) {
  struct Stage {
    int expansion, kernel, stride;
    std::int64_t out;
    int layers;
  };
  const Stage stages[] = {{1, 3, 1, 16, 1},  {6, 3, 2, 24, 2},  {6, 5, 2, 40, 2}, {6, 3, 2, 80, 3},
                          {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1}};
  Chain chain;
  chain.layer("features.0", 32, 3, 2, 1, graph::Silu{});
  int index = 1;
  for (const Stage& stage : stages) {
    for (int i = 0; i < stage.layers; ++i) {
      const std::string name = fmt::format("features.{}.{}", index, i);
      const int stride = i == 0 ? stage.stride : 1;
      const std::int64_t in = chain.channels, expanded = in * stage.expansion;
      const std::string shortcut = chain.x;
      int part = 0;
      const auto next = [&] { return fmt::format("{}.block.{}", name, part++); };
      if (stage.expansion != 1) chain.layer(next(), expanded, 1, 1, 1, graph::Silu{});
      chain.layer(next(), expanded, stage.kernel, stride, static_cast<int>(expanded),
                  graph::Silu{});
      chain.squeeze_and_excite(next(), std::max<std::int64_t>(1, in / 4), graph::Silu{},
                               graph::Sigmoid{});
      const std::string project = next();
      chain.conv(project + ".0", project + ".1", stage.out, 1);
      if (stride == 1 && in == stage.out) chain.add(name, shortcut);
    }
    ++index;
  }
  chain.layer("features.8", 1280, 1, 1, 1, graph::Silu{});
  std::vector<Node> head;
  const std::string pooled = append(head, "avgpool", graph::GlobalAvgPool{}, {chain.x});
  append(head, "classifier.1", graph::Linear{.out_features = 1000}, {pooled});
  return chain.finish("efficientnet_b0", side, head);
}

graph::Graph shufflenet_v2_graph(int side) {
  Chain chain;
  chain.layer("conv1", 24, 3, 2, 1, graph::Relu{});
  chain.op("maxpool", graph::MaxPool{3, 2, 1});
  const std::pair<int, std::int64_t> stages[] = {{4, 116}, {8, 232}, {4, 464}};
  int index = 2;
  for (const auto& [units, out] : stages) {
    for (int i = 0; i < units; ++i) {
      const std::string name = fmt::format("stage{}.{}", index, i);
      const std::int64_t half = out / 2;
      std::string left, right = chain.x;
      if (i == 0) {
        const std::int64_t in = chain.channels;
        chain.conv(name + ".branch1.0", name + ".branch1.1", in, 3, 2, static_cast<int>(in));
        chain.conv(name + ".branch1.2", name + ".branch1.3", half, 1);
        chain.op(name + ".branch1.4", graph::Relu{});
        left = chain.x;
      } else {
        left = append(chain.nodes, name + ".left", graph::Slice{0, half}, {chain.x});
        right = append(chain.nodes, name + ".right", graph::Slice{half, out}, {chain.x});
      }
      chain.x = right;
      chain.conv(name + ".branch2.0", name + ".branch2.1", half, 1);
      chain.op(name + ".branch2.2", graph::Relu{});
      chain.conv(name + ".branch2.3", name + ".branch2.4", half, 3, i == 0 ? 2 : 1,
                 static_cast<int>(half));
      chain.conv(name + ".branch2.5", name + ".branch2.6", half, 1);
      chain.op(name + ".branch2.7", graph::Relu{});
      chain.x = append(chain.nodes, name + ".concat", graph::Concat{}, {left, chain.x});
      chain.op(name, graph::ChannelShuffle{2});
      chain.channels = out;
    }
    ++index;
  }
  chain.layer("conv5", 1024, 1, 1, 1, graph::Relu{});
  std::vector<Node> head;
  graph::append_classifier(head, chain.x, 1000);
  return chain.finish("shufflenet_v2_x1_0", side, head);
}

}  // namespace offramp
