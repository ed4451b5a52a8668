#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/error.h"
#include "graph/graph_builder.h"

namespace offramp::graph {
namespace {

/// Returns a network of one convolution, 3×8×6 -> 4×8×6, and a classifier of 5 classes.
Graph tiny() {
  Graph graph{"tiny", {3, 8, 6}, 5, {}};
  std::vector<Node> nodes;
  append(nodes, "conv", Conv{.out_channels = 4, .kernel = 3, .padding = 1}, {"input"});
  graph.segments.push_back(make_segment("body", nodes));
  append_classifier(graph.segments[0].head, "conv", 5);
  return graph;
}

/// Returns tiny() with one more operation after the convolution.
Graph tiny_with(const Op& op, std::vector<std::string> inputs = {"conv"}) {
  Graph graph = tiny();
  append(graph.segments[0].nodes, "x", op, std::move(inputs));
  return graph;
}

Shape shape_of(const Op& op, std::vector<std::string> inputs = {"conv"}) {
  return infer_shapes(tiny_with(op, std::move(inputs))).at("x");
}

std::string message_of(const Graph& graph) {
  try {
    infer_shapes(graph);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(InferShapes, OfEveryOperation) {
  EXPECT_EQ(shape_of(Conv{.out_channels = 6, .kernel = 3, .stride = 2}), (Shape{6, 3, 2}));
  EXPECT_EQ(shape_of(Conv{.out_channels = 6, .kernel = 3, .stride = 2, .padding = 1}),
            (Shape{6, 4, 3}));
  EXPECT_EQ(shape_of(Conv{.out_channels = 8, .kernel = 1, .groups = 4}), (Shape{8, 8, 6}));
  EXPECT_EQ(shape_of(BatchNorm{}), (Shape{4, 8, 6}));
  EXPECT_EQ(shape_of(Relu{}), (Shape{4, 8, 6}));
  EXPECT_EQ(shape_of(Relu6{}), (Shape{4, 8, 6}));
  EXPECT_EQ(shape_of(Add{}, {"conv", "conv"}), (Shape{4, 8, 6}));
  EXPECT_EQ(shape_of(Concat{}, {"conv", "input", "conv"}), (Shape{11, 8, 6}));
  EXPECT_EQ(shape_of(MaxPool{.kernel = 3, .stride = 2, .padding = 1}), (Shape{4, 4, 3}));
  EXPECT_EQ(shape_of(AvgPool{.kernel = 3, .stride = 3}), (Shape{4, 2, 2}));
  EXPECT_EQ(shape_of(Conv{.out_channels = 6,
                          .kernel = {3, 2},
                          .stride = {1, 2},
                          .padding = {2, 0, 1, 1},
                          .dilation = {2, 1}}),
            (Shape{6, 7, 3}));
  EXPECT_EQ(shape_of(MaxPool{.kernel = {2, 3}, .stride = {3, 1}, .padding = {1, 0, 0, 1}}),
            (Shape{4, 3, 5}));
  EXPECT_EQ(shape_of(MaxPool{.kernel = 2, .stride = 1, .dilation = {4, 1}}), (Shape{4, 4, 5}));
  EXPECT_EQ(shape_of(AdaptiveAvgPool{{7, 9}}), (Shape{4, 7, 9}));
  for (const Op& op : {Op(Clip{}), Op(Sigmoid{}), Op(HardSigmoid{}), Op(HardSwish{}), Op(Silu{}),
                       Op(Gelu{}), Op(LayerNorm{}), Op(ChannelShuffle{2})})
    EXPECT_EQ(shape_of(op), (Shape{4, 8, 6})) << op_name(op);
  EXPECT_EQ(shape_of(Multiply{}, {"conv", "conv"}), (Shape{4, 8, 6}));
  EXPECT_EQ(shape_of(Slice{1, 3}), (Shape{2, 8, 6}));
  EXPECT_EQ(shape_of(GlobalAvgPool{}), (Shape{4}));
  EXPECT_EQ(shape_of(SpatialPyramidPool{{1, 2, 4}}), (Shape{84}));
  EXPECT_EQ(shape_of(Flatten{}), (Shape{192}));
  EXPECT_EQ(infer_shapes(tiny()).at("fc"), (Shape{5}));
  EXPECT_EQ(infer_shapes(tiny()).at("input"), (Shape{3, 8, 6}));
}

TEST(InferShapes, RoundUpWhereThatGivesAWindowOfTheInput) {
  // 8 rows and 6 columns. By hand, after PyTorch's rule: no window begins in the trailing padding.
  const auto rounded = [](int kernel, int stride, const Padding& padding) {
    return shape_of(AvgPool{kernel, stride, padding, true});
  };
  EXPECT_EQ(rounded(3, 2, 0), (Shape{4, 4, 3}));  // 8 rows: 0 2 4, and 6 of which one is beyond
  EXPECT_EQ(rounded(2, 3, 0), (Shape{4, 3, 2}));  // 6 columns: 0 3, and none at 6
  EXPECT_EQ(rounded(1, 4, 0), (Shape{4, 2, 2}));
  EXPECT_EQ(rounded(2, 3, 1), (Shape{4, 3, 3}));  // rows from -1: -1 2 5; 8 would be padding
}

TEST(InferShapes, AllowPyramidLevelsFinerThanTheFeature) {
  EXPECT_EQ(shape_of(SpatialPyramidPool{{9}}), (Shape{4 * 81}));
}

TEST(InferShapes, RefuseAnOperationThatDoesNotFit) {
  const auto message = [](const Op& op, std::vector<std::string> inputs = {"conv"}) {
    return message_of(tiny_with(op, std::move(inputs)));
  };
  const std::string place = "segment \"body\": node \"x\": ";
  EXPECT_EQ(message(Conv{.out_channels = 6, .groups = 3}),
            place + "groups 3 must divide both the 4 input and the 6 output channels");
  EXPECT_EQ(message(Conv{.out_channels = 6, .groups = 0}),
            place + "groups must be at least 1, got 0");
  EXPECT_EQ(message(Conv{.out_channels = 0}), place + "out_channels must be at least 1, got 0");
  EXPECT_EQ(message(Conv{.out_channels = 1, .kernel = 0}),
            place + "kernel must be at least 1, got 0");
  EXPECT_EQ(message(Conv{.out_channels = 1, .stride = 0}),
            place + "stride must be at least 1, got 0");
  EXPECT_EQ(message(Conv{.out_channels = 1, .padding = -1}),
            place + "padding must not be negative, got -1");
  EXPECT_EQ(message(Conv{.out_channels = 1, .kernel = 7}),
            place + "a kernel of 7 does not fit into [4,8,6] with padding 0");
  EXPECT_EQ(message(MaxPool{.kernel = 3, .stride = 1, .padding = 2}),
            place + "padding 2 is more than half of the kernel 3");
  EXPECT_EQ(message(AvgPool{.kernel = 2, .stride = 0}), place + "stride must be at least 1, got 0");
  EXPECT_EQ(message(BatchNorm{.eps = 0}), place + "eps must be positive and finite, got 0");
  EXPECT_EQ(message(BatchNorm{.eps = std::nan("")}),
            place + "eps must be positive and finite, got nan");
  EXPECT_EQ(message(BatchNorm{.momentum = 1.5}), place + "momentum must lie in [0, 1], got 1.5");
  EXPECT_EQ(message(Conv{.out_channels = 1, .kernel = {3, 0}}),
            place + "kernel must be at least 1, got 0");
  EXPECT_EQ(message(Conv{.out_channels = 1, .dilation = {0, 1}}),
            place + "dilation must be at least 1, got 0");
  EXPECT_EQ(message(Conv{.out_channels = 1, .padding = {0, 0, -2, 0}}),
            place + "padding must not be negative, got -2");
  EXPECT_EQ(
      message(Conv{.out_channels = 1, .kernel = {1, 4}, .padding = {0, 1, 2, 0}, .dilation = 3}),
      place + "a kernel of 1x10 does not fit into [4,8,6] with padding 0,1,2,0");
  EXPECT_EQ(message(MaxPool{.kernel = 3, .stride = 1, .padding = {0, 0, 2, 0}}),
            place + "padding 2 is more than half of the kernel 3");
  EXPECT_EQ(message(MaxPool{.kernel = 2, .stride = 1, .dilation = {1, 7}}),
            place + "dilation 7 is more than the side of the input [4,8,6]");
  EXPECT_EQ(message(AdaptiveAvgPool{{0, 2}}),
            place + "the grid must have at least 1x1 bins, got 0x2");
  EXPECT_EQ(message(Clip{2, 1}), place + "clips to 2 … 1: the bounds must be finite and in order");
  EXPECT_EQ(
      message(Clip{.max = 1e39}),
      place + "clips to -3.4028234663852886e+38 … 1e+39: the bounds must be finite and in order");
  EXPECT_EQ(message(HardSigmoid{std::nan(""), 0}),
            place + "alpha and beta must be finite, got nan and 0");
  EXPECT_EQ(message(LayerNorm{0}), place + "eps must be positive and finite, got 0");
  EXPECT_EQ(message(Multiply{}), place + "takes 2 inputs, got 1");
  EXPECT_EQ(message(Multiply{}, {"conv", "input"}), place + "cannot multiply [4,8,6] by [3,8,6]");
  EXPECT_EQ(message(Slice{1, 5}),
            place + "cannot take channels from 1 to 5 (exclusive) of [4,8,6]");
  EXPECT_EQ(message(Slice{2, 2}),
            place + "cannot take channels from 2 to 2 (exclusive) of [4,8,6]");
  EXPECT_EQ(message(ChannelShuffle{3}), place + "groups 3 must divide the 4 input channels");
  EXPECT_EQ(message(Add{}), place + "takes 2 or more inputs, got 1");
  EXPECT_EQ(message(Add{}, {"conv", "input"}), place + "cannot add [4,8,6] and [3,8,6]");
  EXPECT_EQ(message(Concat{}), place + "takes 2 or more inputs, got 1");
  EXPECT_EQ(message(Relu{}, {"conv", "conv"}), place + "takes 1 input, got 2");
  EXPECT_EQ(message(Relu{}, {}), place + "takes 1 input, got 0");
  EXPECT_EQ(message(SpatialPyramidPool{{}}), place + "needs at least one level");
  EXPECT_EQ(message(SpatialPyramidPool{{1, 0}}), place + "levels must be at least 1, got 0");
  EXPECT_EQ(message(Linear{.out_features = 5}), place + "needs an input [features], got [4,8,6]");
}

TEST(InferShapes, RefuseOperationsOnVectorsThatNeedImages) {
  Graph graph = tiny();
  append(graph.segments[0].head, "late", Flatten{}, {"fc"});
  EXPECT_EQ(message_of(graph), "segment \"body\": node \"late\": needs an input [C,H,W], got [5]");
  graph = tiny();
  graph.segments[0].head.back().op = Linear{.out_features = -1};
  EXPECT_EQ(message_of(graph),
            "segment \"body\": node \"fc\": out_features must be at least 1, got -1");
}

TEST(InferShapes, RefuseChannelsOfDifferentPlaces) {
  Graph graph = tiny_with(MaxPool{});
  append(graph.segments[0].nodes, "y", Concat{}, {"conv", "x"});
  EXPECT_EQ(message_of(graph),
            "segment \"body\": node \"y\": cannot join the channels of [4,8,6] and [4,4,3]");
}

TEST(InferShapes, RefuseSizesThatWouldOverflow) {
  const std::string place = "segment \"body\": node \"x\": ";
  EXPECT_EQ(message_of(tiny_with(Conv{.out_channels = std::int64_t{1} << 40})),
            place + "the weight has more than 2^31 elements: [1099511627776,4,1,1]");
  EXPECT_EQ(message_of(tiny_with(Conv{.out_channels = 1, .kernel = 1 << 30, .padding = 1 << 30})),
            place + "the weight has more than 2^31 elements: [1,4,1073741824,1073741824]");
  EXPECT_EQ(message_of(tiny_with(Conv{.out_channels = 1, .padding = 2147483647})),
            place + "the output has more than 2^31 elements: [1,4294967302,4294967300]");
  EXPECT_EQ(message_of(tiny_with(SpatialPyramidPool{{2147483647}})),
            place + "a level has more than 2^31 elements: [4,2147483647,2147483647]");
  Graph graph = tiny();
  graph.segments[0].head.back().op = Linear{.out_features = std::int64_t{1} << 40};
  EXPECT_EQ(message_of(graph),
            "segment \"body\": node \"fc\": the weight has more than 2^31 elements: "
            "[1099511627776,4]");
  graph = tiny();
  graph.input = {1 << 20, 1 << 20, 1 << 20};
  EXPECT_EQ(message_of(graph),
            "the network's input has more than 2^31 elements: [1048576,1048576,1048576]");
}

TEST(InferShapes, RefuseNetworksWithInvalidInputOrOutput) {
  const auto message = [](const std::function<void(Graph&)>& change) {
    Graph graph = tiny();
    change(graph);
    return message_of(graph);
  };
  EXPECT_EQ(message([](Graph& g) {
              g.input = {3, 8};
            }),
            "the network's input must be [C,H,W], got [3,8]");
  EXPECT_EQ(message([](Graph& g) {
              g.input = {3, 0, 8};
            }),
            "the network's input has a dimension below 1: [3,0,8]");
  EXPECT_EQ(message([](Graph& g) { g.classes = 0; }),
            "the network must have at least 1 class, got 0");
  EXPECT_EQ(message([](Graph& g) { g.segments.clear(); }), "the network has no segments");
  EXPECT_EQ(message([](Graph& g) { g.segments[0].head.clear(); }),
            "segment \"body\": the last segment has no head");
  EXPECT_EQ(message([](Graph& g) { g.segments[0].feature.clear(); }),
            "segment \"body\": has a head but no feature for it to read");
  EXPECT_EQ(
      message([](Graph& g) { g.segments[0].feature = "nothing"; }),
      "segment \"body\": the feature \"nothing\" is neither computed in this segment nor passed "
      "to it");
  EXPECT_EQ(message([](Graph& g) { g.classes = 6; }),
            "segment \"body\": node \"fc\": a head must end in one logit per class: got [5], "
            "expected [6]");
}

TEST(InferShapes, RefuseNamesThatAreTakenOrUnfit) {
  const auto message = [](const std::string& name) {
    Graph graph = tiny();
    append(graph.segments[0].nodes, name, Relu{}, {"conv"});
    return message_of(graph);
  };
  const std::string unfit = "a node's name must be 1 to 200 letters, digits, '.', '_' or '-'";
  EXPECT_EQ(message("conv"), "segment \"body\": node \"conv\": the name is used twice");
  EXPECT_EQ(message("input"),
            "segment \"body\": node \"input\": the name is reserved for the network's input");
  EXPECT_EQ(message(""), "segment \"body\": node \"\": " + unfit);
  EXPECT_EQ(message("a b"), "segment \"body\": node \"a b\": " + unfit);
  Graph graph = tiny();
  graph.segments[0].name = "bell\a";
  EXPECT_EQ(message_of(graph),
            "the name of segment 1 is longer than 400 bytes or holds control characters");
  for (const char* name : {"\u009b2J", "\u202egnp", "\xff"}) {
    graph.segments[0].name = name;
    EXPECT_EQ(message_of(graph),
              "the name of segment 1 is longer than 400 bytes or holds control characters");
  }
  graph.name = "escape\x1b[2J";
  EXPECT_EQ(message_of(graph),
            "the name of the network is longer than 400 bytes or holds control characters");
}

TEST(InferShapes, LetOnlyOutputsReachTheNextSegment) {
  Graph graph{"chain", {3, 8, 8}, 5, {}};
  std::vector<Node> nodes;
  append(nodes, "a", Relu{}, {"input"});
  append(nodes, "b", Relu{}, {"a"});
  graph.segments.push_back(make_segment("first", nodes));
  nodes.clear();
  append(nodes, "c", Relu{}, {"b"});
  graph.segments.push_back(make_segment("second", nodes));
  append_classifier(graph.segments[1].head, "c", 5);
  EXPECT_EQ(message_of(graph), "no error");

  const auto message = [&](const std::function<void(Graph&)>& change) {
    Graph copy = graph;
    change(copy);
    return message_of(copy);
  };
  EXPECT_EQ(message([](Graph& g) { g.segments[1].nodes[0].inputs = {"a"}; }),
            "segment \"second\": node \"c\": the input \"a\" is not passed to this segment: it "
            "is not an output of the segment before");
  EXPECT_EQ(message([](Graph& g) { g.segments[1].nodes[0].inputs = {"input"}; }),
            "segment \"second\": node \"c\": the input \"input\" is not passed to this segment: "
            "it is not an output of the segment before");
  EXPECT_EQ(message([](Graph& g) { g.segments[0].nodes[0].inputs = {"b"}; }),
            "segment \"first\": node \"a\": unknown input \"b\"");
  EXPECT_EQ(message([](Graph& g) { g.segments[0].outputs.clear(); }),
            "segment \"first\": passes no tensor to the next segment");
  EXPECT_EQ(message([](Graph& g) {
              g.segments[0].outputs = {"b", "b"};
            }),
            "segment \"first\": the output \"b\" is listed twice");
  EXPECT_EQ(
      message([](Graph& g) { g.segments[0].outputs = {"c"}; }),
      "segment \"first\": the output \"c\" is neither computed in this segment nor passed to it");
  EXPECT_EQ(
      message([](Graph& g) { g.segments[1].feature = "a"; }),
      "segment \"second\": the feature \"a\" is neither computed in this segment nor passed to it");
}

TEST(InferShapes, LetAHeadReadItsFeatureOnly) {
  Graph graph = tiny_with(Relu{});
  graph.segments[0].feature = "x";
  EXPECT_EQ(
      message_of(graph),
      "segment \"body\": node \"avgpool\": the input \"conv\" is not passed to this segment: it "
      "is not an output of the segment before");
}

TEST(Parameters, AreNamedShapedAndSortedLikeTheNodes) {
  Graph graph = tiny_with(BatchNorm{});
  graph.segments[0].nodes[0].op = Conv{.out_channels = 4, .kernel = 5, .padding = 2, .bias = true};
  std::vector<std::string> seen;
  for (const Parameter& p : parameters(graph)) {
    std::string text = p.name + " [";
    for (const std::int64_t size : p.shape) text += std::to_string(size) + ",";
    seen.push_back(text + "]" + (p.trained() ? "" : " not trained") + (p.in_head ? " head" : ""));
  }
  EXPECT_THAT(seen, testing::ElementsAre(
                        "conv.weight [4,3,5,5,]", "conv.bias [4,]", "x.weight [4,]", "x.bias [4,]",
                        "x.running_mean [4,] not trained", "x.running_var [4,] not trained",
                        "fc.weight [5,4,] head", "fc.bias [5,] head"));
}

}  // namespace
}  // namespace offramp::graph
