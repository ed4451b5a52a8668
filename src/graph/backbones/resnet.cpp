// Residual networks of basic blocks (He et al., Deep Residual Learning, 2015), with torchvision's
// parameter names. The cifar stem is the usual one for 32×32 images.
#include <fmt/format.h>

#include <array>

#include "graph/graph_builder.h"
#include "graph/network_spec.h"

namespace offramp::graph {
namespace {

/// Appends the stem and returns the name of its output.
std::string append_stem(std::vector<Node>& nodes, const BackboneOptions& options) {
  const bool imagenet = options.stem == Stem::imagenet;
  const Conv conv =
      imagenet ? Conv{.out_channels = options.width, .kernel = 7, .stride = 2, .padding = 3}
               : Conv{.out_channels = options.width, .kernel = 3, .stride = 1, .padding = 1};
  std::string x = append_conv_norm(nodes, "conv1", "bn1", conv, std::string(kInput));
  x = append(nodes, "relu", Relu{}, {x});
  if (imagenet) x = append(nodes, "maxpool", MaxPool{.kernel = 3, .stride = 2, .padding = 1}, {x});
  return x;
}

/// Appends a basic block and returns the name of its output. The block has two 3×3 convolutions and
/// a shortcut, which is a 1×1 convolution where the size changes.
std::string append_block(std::vector<Node>& nodes, const std::string& name,
                         const std::string& input, std::int64_t channels, int stride,
                         bool project) {
  const Conv first{.out_channels = channels, .kernel = 3, .stride = stride, .padding = 1};
  const Conv second{.out_channels = channels, .kernel = 3, .stride = 1, .padding = 1};
  std::string x = append_conv_norm(nodes, name + ".conv1", name + ".bn1", first, input);
  x = append(nodes, name + ".relu1", Relu{}, {x});
  x = append_conv_norm(nodes, name + ".conv2", name + ".bn2", second, x);
  std::string shortcut = input;
  if (project)
    shortcut = append_conv_norm(nodes, name + ".downsample.0", name + ".downsample.1",
                                {.out_channels = channels, .kernel = 1, .stride = stride}, input);
  x = append(nodes, name + ".add", Add{}, {x, shortcut});
  return append(nodes, name + ".relu2", Relu{}, {x});
}

Graph resnet(const std::string& name, const std::array<int, 4>& blocks,
             const BackboneOptions& options) {
  Graph graph{name, options.input, options.classes, {}};
  std::vector<Node> nodes;
  std::string x = append_stem(nodes, options);
  for (int stage = 0; stage < 4; ++stage) {
    const std::int64_t channels = std::int64_t{options.width} << stage;
    for (int i = 0; i < blocks[static_cast<std::size_t>(stage)]; ++i) {
      const bool shrinks = stage > 0 && i == 0;
      const std::string block = fmt::format("layer{}.{}", stage + 1, i);
      x = append_block(nodes, block, x, channels, shrinks ? 2 : 1, shrinks);
      graph.segments.push_back(make_segment(block, std::move(nodes)));
      nodes = {};
    }
  }
  append_classifier(graph.segments.back().head, x, options.classes);
  return graph;
}

}  // namespace

std::vector<Backbone> resnet_backbones() {
  return {{"resnet18", "residual network, 8 blocks",
           [](const BackboneOptions& options) {
             return resnet("resnet18", {2, 2, 2, 2}, options);
           }},
          {"resnet34", "residual network, 16 blocks", [](const BackboneOptions& options) {
             return resnet("resnet34", {3, 4, 6, 3}, options);
           }}};
}

}  // namespace offramp::graph
