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

std::vector<graph::Graph> example_graphs() {
  return {small_resnet(), small_vgg(), small_mobilenet(), two_scale()};
}

}  // namespace offramp
