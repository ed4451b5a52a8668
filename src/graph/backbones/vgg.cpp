// VGG with batch norm (Simonyan, Zisserman, 2014), configuration A. Convolutions are numbered as in
// torchvision's vgg11_bn. Global pooling and one linear layer replace the three linear layers, as
// is usual for small images.
#include <fmt/format.h>

#include <array>

#include "core/error.h"
#include "graph/graph_builder.h"
#include "graph/network_spec.h"

namespace offramp::graph {
namespace {

struct Layer {
  int widths;         ///< output channels, in multiples of the option `width`
  bool pooled_after;  ///< whether a 2×2 max pool follows
};
constexpr std::array<Layer, 8> kVgg11 = {
    {{1, true}, {2, true}, {4, false}, {4, true}, {8, false}, {8, true}, {8, false}, {8, true}}};

Graph vgg11(const BackboneOptions& options) {
  if (options.stem != Stem::cifar)
    throw UsageError("backbone \"vgg11\": has no imagenet stem; its only stem is \"cifar\"");
  Graph graph{"vgg11", options.input, options.classes, {}};
  std::string x(kInput);
  int index = 0;
  const auto next_name = [&] { return fmt::format("features.{}", index++); };
  for (const Layer& layer : kVgg11) {
    std::vector<Node> nodes;
    const Conv conv{.out_channels = std::int64_t{options.width} * layer.widths,
                    .kernel = 3,
                    .padding = 1,
                    .bias = true};
    const std::string name = next_name();
    x = append(nodes, name, conv, {x});
    x = append(nodes, next_name(), BatchNorm{}, {x});
    x = append(nodes, next_name(), Relu{}, {x});
    if (layer.pooled_after) x = append(nodes, next_name(), MaxPool{}, {x});
    graph.segments.push_back(make_segment(name, std::move(nodes)));
  }
  append_classifier(graph.segments.back().head, x, options.classes);
  return graph;
}

}  // namespace

std::vector<Backbone> vgg_backbones() {
  return {{"vgg11", "plain stack of 8 convolutions", vgg11}};
}

}  // namespace offramp::graph
