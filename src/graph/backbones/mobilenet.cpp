// MobileNet (Howard et al., 2017), a network of depthwise-separable convolutions. `width` is the
// number of output channels of the first block, 64 in the paper. It uses relu6 instead of relu, as
// the published models do. The cifar stem keeps the image size, the imagenet stem halves it.
#include <fmt/format.h>

#include <array>

#include "graph/graph_builder.h"
#include "graph/network_spec.h"

namespace offramp::graph {
namespace {

struct Block {
  int widths;  ///< output channels, in multiples of the option `width`
  int stride;
};
constexpr std::array<Block, 13> kBlocks = {{{1, 1},
                                            {2, 2},
                                            {2, 1},
                                            {4, 2},
                                            {4, 1},
                                            {8, 2},
                                            {8, 1},
                                            {8, 1},
                                            {8, 1},
                                            {8, 1},
                                            {8, 1},
                                            {16, 2},
                                            {16, 1}}};

/// Appends convolution, batch norm and relu6. Their names are "<prefix>.<i>" with i = first, first
/// + 1 and first + 2.
std::string append_layer(std::vector<Node>& nodes, const std::string& prefix, int first,
                         const Conv& conv, const std::string& input) {
  const auto name = [&](int i) { return fmt::format("{}.{}", prefix, first + i); };
  const std::string x = append_conv_norm(nodes, name(0), name(1), conv, input);
  return append(nodes, name(2), Relu6{}, {x});
}

Graph mobilenet(const BackboneOptions& options) {
  Graph graph{"mobilenet", options.input, options.classes, {}};
  std::int64_t channels = (options.width + 1) / 2;
  std::vector<Node> nodes;
  std::string x = append_layer(nodes, "features.0", 0,
                               {.out_channels = channels,
                                .kernel = 3,
                                .stride = options.stem == Stem::imagenet ? 2 : 1,
                                .padding = 1},
                               std::string(kInput));
  for (std::size_t i = 0; i < kBlocks.size(); ++i) {
    const std::string name = fmt::format("features.{}", i + 1);
    const Conv depthwise{.out_channels = channels,
                         .kernel = 3,
                         .stride = kBlocks[i].stride,
                         .padding = 1,
                         .groups = static_cast<int>(channels)};
    channels = std::int64_t{options.width} * kBlocks[i].widths;
    x = append_layer(nodes, name, 0, depthwise, x);
    x = append_layer(nodes, name, 3, {.out_channels = channels}, x);
    graph.segments.push_back(make_segment(name, std::move(nodes)));
    nodes = {};
  }
  append_classifier(graph.segments.back().head, x, options.classes);
  return graph;
}

}  // namespace

std::vector<Backbone> mobilenet_backbones() {
  return {{"mobilenet", "13 depthwise-separable blocks", mobilenet}};
}

}  // namespace offramp::graph
