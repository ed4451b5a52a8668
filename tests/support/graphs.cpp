#include "tests/support/graphs.h"

#include "graph/graph_builder.h"
#include "graph/network_spec.h"

namespace offramp {
namespace {

/// Appends a convolution, a batch norm and a relu named "<name>.conv", "<name>.bn" and "<name>".
std::string layer(std::vector<graph::Node>& nodes, const std::string& name, const graph::Conv& conv,
                  const std::string& input) {
  return append(nodes, name, graph::Relu{},
                {graph::append_conv_norm(nodes, name + ".conv", name + ".bn", conv, input)});
}

}  // namespace

graph::Graph small_resnet() {
  graph::NetworkSpec spec;
  spec.options.width = 4;
  spec.exits = {"2", "5"};
  return graph::build_network(spec);
}

graph::Graph small_vgg() {
  graph::NetworkSpec spec;
  spec.backbone = "vgg11";
  spec.options = {.input = {3, 37, 32}, .classes = 7, .stem = graph::Stem::cifar, .width = 4};
  spec.exits = {"1", "4"};
  spec.heads = {"conv-spp"};
  spec.spp_levels = {1, 3};
  return graph::build_network(spec);
}

graph::Graph small_mobilenet() {
  graph::NetworkSpec spec;
  spec.backbone = "mobilenet";
  spec.options = {.input = {1, 32, 32}, .classes = 10, .stem = graph::Stem::imagenet, .width = 8};
  spec.exits = {"3", "7"};
  spec.heads = {"conv-avg"};
  return graph::build_network(spec);
}

graph::Graph two_scale() {
  graph::Graph graph{"two_scale", {3, 13, 11}, 5, {}};
  const graph::Conv fine{.out_channels = 6, .kernel = 3, .padding = 1};
  const graph::Conv coarse{.out_channels = 8, .kernel = 3, .stride = 2, .padding = 1};

  graph::Segment first{.name = "first", .nodes = {}, .outputs = {}, .feature = {}, .head = {}};
  layer(first.nodes, "fine1", fine, std::string(graph::kInput));
  layer(first.nodes, "coarse1", coarse, "fine1");
  append(first.nodes, "side", graph::AvgPool{.kernel = 3, .stride = 2, .padding = 1},
         {std::string(graph::kInput)});
  first.outputs = {"fine1", "coarse1", "side"};
  first.feature = "coarse1";
  append(first.head, "exits.1.pool", graph::SpatialPyramidPool{{2, 5}}, {"coarse1"});
  append(first.head, "exits.1.fc", graph::Linear{.out_features = 5}, {"exits.1.pool"});

  // The tensor "side" passes through this segment unchanged.
  graph::Segment second{.name = "second", .nodes = {}, .outputs = {}, .feature = {}, .head = {}};
  append(second.nodes, "fine2", graph::Concat{},
         {"fine1", layer(second.nodes, "fine2.new", fine, "fine1")});
  const std::string same =
      layer(second.nodes, "coarse2.same",
            {.out_channels = 8, .kernel = 3, .padding = 1, .groups = 2, .bias = true}, "coarse1");
  const std::string down = layer(second.nodes, "coarse2.down", coarse, "fine2");
  append(second.nodes, "coarse2.sum", graph::Add{}, {same, down, "coarse1"});
  append(second.nodes, "coarse2", graph::Concat{}, {"coarse1", "coarse2.sum"});
  second.outputs = {"side", "coarse2"};
  second.feature = "coarse2";
  append(second.head, "exits.2.pool", graph::MaxPool{.kernel = 3, .stride = 2, .padding = 1},
         {"coarse2"});
  append(second.head, "exits.2.flat", graph::Flatten{}, {"exits.2.pool"});
  append(second.head, "exits.2.fc", graph::Linear{.out_features = 5, .bias = false},
         {"exits.2.flat"});

  graph::Segment third{.name = "third", .nodes = {}, .outputs = {}, .feature = {}, .head = {}};
  append(third.nodes, "joined", graph::Concat{}, {"coarse2", "side"});
  graph::append_conv_norm(third.nodes, "last.conv", "last.bn", {.out_channels = 12, .kernel = 3},
                          "joined");
  append(third.nodes, "last", graph::Relu6{}, {"last.bn"});
  third.feature = "last";
  graph::append_classifier(third.head, "last", 5);

  graph.segments = {first, second, third};
  return graph;
}

graph::Graph small_import() {
  graph::Graph graph{"import", {3, 15, 14}, 6, {}};
  std::vector<graph::Node> nodes;
  // A stem with padding as TensorFlow has it, and a rectangular, dilated kernel after it.
  std::string x = graph::append_conv_norm(
      nodes, "stem", "stem.bn",
      {.out_channels = 16, .kernel = 3, .stride = 2, .padding = {1, 0, 1, 1}},
      std::string(graph::kInput));
  x = append(nodes, "stem.act", graph::HardSwish{}, {x});
  x = append(nodes, "wide",
             graph::Conv{.out_channels = 16,
                         .kernel = {1, 3},
                         .padding = {0, 2, 0, 2},
                         .bias = true,
                         .dilation = {1, 2}},
             {x});
  const std::string block = append(nodes, "wide.act", graph::Silu{}, {x});
  // Squeeze and excitation.
  x = append(nodes, "se.pool", graph::GlobalAvgPool{}, {block});
  x = append(nodes, "se.fc1", graph::Linear{.out_features = 4}, {x});
  x = append(nodes, "se.act", graph::Silu{}, {x});
  x = append(nodes, "se.fc2", graph::Linear{.out_features = 16}, {x});
  x = append(nodes, "se.gate", graph::HardSigmoid{}, {x});
  append(nodes, "se", graph::Multiply{}, {block, x});
  graph.segments.push_back(graph::make_segment("first", nodes));
  std::vector<graph::Node>& early = graph.segments.back().head;
  x = append(early, "exits.1.norm", graph::LayerNorm{}, {"se"});
  x = append(early, "exits.1.pool", graph::GlobalAvgPool{}, {x});
  x = append(early, "exits.1.vector_norm", graph::LayerNorm{}, {x});
  append(early, "exits.1.fc", graph::Linear{.out_features = 6}, {x});

  // A unit of a shuffle network, then an inverted bottleneck with a layer norm.
  nodes.clear();
  const std::string left = append(nodes, "left", graph::Slice{0, 8}, {"se"});
  x = append(nodes, "right", graph::Slice{8, 16}, {"se"});
  x = graph::append_conv_norm(nodes, "depthwise", "depthwise.bn",
                              {.out_channels = 8, .kernel = 3, .padding = 1, .groups = 8}, x);
  x = append(nodes, "depthwise.clip", graph::Clip{-1, 2}, {x});
  x = append(nodes, "joined", graph::Concat{}, {left, x});
  const std::string shuffled = append(nodes, "shuffled", graph::ChannelShuffle{2}, {x});
  graph.segments.push_back(graph::make_segment("second", nodes));
  std::vector<graph::Node>& middle = graph.segments.back().head;
  x = append(middle, "exits.2.pool", graph::SpatialPyramidPool{{2}}, {shuffled});
  append(middle, "exits.2.fc", graph::Linear{.out_features = 6}, {x});

  nodes.clear();
  x = append(nodes, "norm", graph::LayerNorm{}, {shuffled});
  x = append(nodes, "expand", graph::Conv{.out_channels = 32, .bias = true}, {x});
  x = append(nodes, "gelu", graph::Gelu{}, {x});
  x = append(nodes, "project", graph::Conv{.out_channels = 16, .bias = true}, {x});
  x = append(nodes, "sum", graph::Add{}, {shuffled, x});
  const std::string gate = append(nodes, "gate", graph::Sigmoid{}, {x});
  x = append(nodes, "gated", graph::Multiply{}, {x, gate});
  x = append(nodes, "tanh", graph::Gelu{.tanh = true}, {x});
  x = append(nodes, "max", graph::MaxPool{{3, 2}, {2, 1}, {1, 0, 0, 1}, 1, true}, {x});
  x = append(nodes, "mean", graph::AvgPool{2, {1, 2}, {0, 1, 0, 0}, true, false}, {x});
  append(nodes, "grid", graph::AdaptiveAvgPool{{3, 2}}, {x});
  graph.segments.push_back(graph::make_segment("third", nodes));
  x = append(graph.segments.back().head, "flat", graph::Flatten{}, {"grid"});
  append(graph.segments.back().head, "fc", graph::Linear{.out_features = 6}, {x});
  return graph;
}

std::vector<graph::Graph> example_graphs() {
  return {small_resnet(), small_vgg(), small_mobilenet(), two_scale(), small_import()};
}

}  // namespace offramp
