#include "graph/cut_points.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "graph/cost.h"
#include "graph/graph_builder.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "tests/support/graphs.h"
#include "tests/support/random_graph.h"
#include "tests/support/reference.h"

namespace offramp::graph {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

std::vector<std::string> names(const std::vector<CutPoint>& points) {
  std::vector<std::string> result;
  for (const CutPoint& point : points) result.push_back(point.name);
  return result;
}

std::vector<std::string> tensors(const std::vector<CutPoint>& points) {
  std::vector<std::string> result;
  for (const CutPoint& point : points) result.push_back(point.tensor);
  return result;
}

/// A network of one segment: `nodes` and a classifier.
Graph one_segment(std::vector<Node> nodes, std::int64_t side) {
  Graph graph{"one", {3, side, side}, 10, {}};
  const std::string last = nodes.back().name;
  graph.segments.push_back(make_segment("all", std::move(nodes)));
  append_classifier(graph.segments.back().head, last, 10);
  return graph;
}

/// MobileNetV2 (Sandler et al., 2018) for 224×224 images, written as one segment.
Graph mobilenet_v2() {
  std::vector<Node> nodes;
  int next = 0;
  const auto layer = [&](const Conv& conv, const std::string& input, bool activation) {
    const std::string prefix = fmt::format("l{}", next++);
    const std::string x = append_conv_norm(nodes, prefix + ".conv", prefix + ".bn", conv, input);
    return activation ? append(nodes, prefix + ".act", Relu6{}, {x}) : x;
  };
  std::string x =
      layer({.out_channels = 32, .kernel = 3, .stride = 2, .padding = 1}, "input", true);
  std::int64_t channels = 32;
  struct Stage {
    int expansion, channels, blocks, stride;
  };
  for (const Stage& stage :
       {Stage{1, 16, 1, 1}, Stage{6, 24, 2, 2}, Stage{6, 32, 3, 2}, Stage{6, 64, 4, 2},
        Stage{6, 96, 3, 1}, Stage{6, 160, 3, 2}, Stage{6, 320, 1, 1}})
    for (int block = 0; block < stage.blocks; ++block) {
      const std::string shortcut = x;
      const int stride = block == 0 ? stage.stride : 1;
      const std::int64_t wide = channels * stage.expansion;
      if (stage.expansion > 1) x = layer({.out_channels = wide}, x, true);
      x = layer({.out_channels = wide,
                 .kernel = 3,
                 .stride = stride,
                 .padding = 1,
                 .groups = static_cast<int>(wide)},
                x, true);
      x = layer({.out_channels = stage.channels}, x, false);
      if (stride == 1 && channels == stage.channels)
        x = append(nodes, fmt::format("sum{}", next), Add{}, {x, shortcut});
      channels = stage.channels;
    }
  layer({.out_channels = 1280}, x, true);
  return one_segment(std::move(nodes), 224);
}

TEST(CutPoints, OfAResNetAreTheStemAndTheBlocksButTheLast) {
  NetworkSpec spec;
  spec.exits = {"3"};  // exits and segments that it has already change nothing
  const Graph with_exit = build_network(spec);
  spec.exits = {};
  const Graph plain = build_network(spec);
  const std::vector<CutPoint> points = cut_points(plain);
  EXPECT_THAT(names(points), ElementsAre("relu", "layer1.0", "layer1.1", "layer2.0", "layer2.1",
                                         "layer3.0", "layer3.1", "layer4.0"));
  EXPECT_EQ(points[1].tensor, "layer1.0.relu2");  // after the activation, not after the sum
  EXPECT_EQ(points[3].shape, (Shape{128, 16, 16}));
  EXPECT_EQ(points, cut_points(with_exit));
  // 3 × 3 × 3 × 64 multiply-accumulates at 32 × 32 places.
  EXPECT_EQ(points[0].macs, 27 * 64 * 32 * 32);
  EXPECT_EQ(points[1].macs, points[0].macs + 2 * 9 * 64 * 64 * 32 * 32);
  EXPECT_DOUBLE_EQ(points[1].relative_macs, static_cast<double>(points[1].macs) / 555'422'720);
}

// As exporters name tensors: the shorter name of one is the name of another.
TEST(CutPoints, HaveNamesOfTheirOwn) {
  std::vector<Node> nodes;
  std::string x = "input";
  for (const char* name : {"a.b.c", "a.b", "a.d", "e.f", "g"})
    x = append(nodes, name, Conv{.out_channels = 3, .kernel = 3, .padding = 1}, {x});
  EXPECT_THAT(names(cut_points(one_segment(std::move(nodes), 8))),
              ElementsAre("a.b.c", "a.b", "a.d", "e"));
}

TEST(CutPoints, OfAMobileNetV2LieBetweenBlocksAndInBlocksWithoutShortcut) {
  const std::vector<CutPoint> points = cut_points(mobilenet_v2());
  // The stem, 2 in the first block, 3 in each of the 6 other blocks without a shortcut, and 1 after
  // each of the 10 blocks with one. The layer of 1280 channels is at the end.
  EXPECT_EQ(points.size(), 1u + 2 + 18 + 10);
  EXPECT_EQ(points[0].tensor, "l0.act");
  EXPECT_THAT(tensors(points), Contains("sum9"));
  for (const CutPoint& point : points) EXPECT_LT(point.relative_macs, 0.95);
  const std::vector<CutPoint> few = spaced(points, 0.05);
  EXPECT_LT(few.size(), 20u);
  EXPECT_GT(few.size(), 10u);
  EXPECT_EQ(few.back(), points.back());
}

TEST(CutPoints, OfADenseBlockDependOnHowItIsConcatenated) {
  const Conv conv{.out_channels = 4, .kernel = 3, .padding = 1};
  const auto dense = [&](bool incremental) {
    std::vector<Node> nodes;
    std::string x = append(nodes, "stem", conv, {"input"});
    std::vector<std::string> all = {x};
    for (int i = 1; i <= 3; ++i) {
      if (!incremental && all.size() > 1) x = append(nodes, fmt::format("in{}", i), Concat{}, all);
      const std::string fresh = append(nodes, fmt::format("new{}", i), conv, {x});
      all.push_back(fresh);
      if (incremental) x = append(nodes, fmt::format("all{}", i), Concat{}, {x, fresh});
    }
    if (!incremental) x = append(nodes, "joined", Concat{}, all);
    x = append(nodes, "transition", conv, {x});
    append(nodes, "end", conv, {x});
    return one_segment(std::move(nodes), 16);
  };
  // Where every layer reads all outputs before it, none of them carries everything.
  EXPECT_THAT(tensors(cut_points(dense(false))), ElementsAre("stem", "joined", "transition"));
  EXPECT_THAT(tensors(cut_points(dense(true))),
              ElementsAre("stem", "all1", "all2", "all3", "transition"));
}

TEST(CutPoints, LeaveOutPlacesThatSaveNothing) {
  const Conv conv{.out_channels = 8, .kernel = 3, .padding = 1};
  std::vector<Node> nodes;
  std::string x = append(nodes, "before", Relu{}, {"input"});  // nothing was computed yet
  x = append(nodes, "first", conv, {x});
  x = append(nodes, "pool", MaxPool{}, {x});
  x = append(nodes, "second", conv, {x});
  append(nodes, "last", Relu{}, {x});
  EXPECT_THAT(tensors(cut_points(one_segment(std::move(nodes), 16))), ElementsAre("pool"));
}

/// Whether the feature of the last exit can be reached from the input without a tensor.
bool is_reached_without(const Graph& graph, const std::string& tensor) {
  std::set<std::string> reached = {std::string(kInput)};
  for (const Segment& segment : graph.segments)
    for (const Node& node : segment.nodes)
      if (node.name != tensor &&
          std::ranges::any_of(node.inputs, [&](const auto& i) { return reached.contains(i); }))
        reached.insert(node.name);
  return reached.contains(graph.segments.back().feature);
}

TEST(CutPoints, AreTheTensorsWithoutWhichNothingReachesTheLogits) {
  int num_points = 0, num_branches = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Graph graph = random_graph(seed);
    SCOPED_TRACE(graph.name);
    const std::vector<CutPoint> points = cut_points(graph);
    std::set<std::int64_t> costs;
    for (const CutPoint& point : points) {
      EXPECT_FALSE(is_reached_without(graph, point.tensor)) << point.tensor;
      costs.insert(point.macs);
    }
    EXPECT_EQ(costs.size(), points.size());
    num_points += static_cast<int>(points.size());
    // Every other tensor can be avoided, or costs the same as a point, the input or the whole.
    const Graph cut = cut_at(graph, points);
    for (const Segment& segment : cut.segments) {
      std::vector<std::string> with_macs;
      const auto shapes = infer_shapes(cut);
      for (std::size_t i = 0; i + 1 < segment.nodes.size(); ++i) {
        const Node& node = segment.nodes[i];
        bool macs_follow = false, macs_before = false;
        for (std::size_t j = 0; j < segment.nodes.size(); ++j) {
          std::vector<Shape> inputs;
          for (const std::string& input : segment.nodes[j].inputs)
            inputs.push_back(shapes.at(input));
          if (count_node(segment.nodes[j], inputs, shapes.at(segment.nodes[j].name)).macs > 0)
            (j > i ? macs_follow : macs_before) = true;
        }
        if (!macs_before || !macs_follow || &segment == &cut.segments.back()) continue;
        EXPECT_TRUE(is_reached_without(graph, node.name)) << node.name;
        ++num_branches;
      }
    }
  }
  EXPECT_GT(num_points, 300);
  EXPECT_GT(num_branches, 100);
}

TEST(CutPoints, CuttingThereChangesNoBitOfTheLogits) {
  std::vector<Graph> graphs = example_graphs();
  for (std::uint64_t seed = 0; seed < 40; ++seed) graphs.push_back(random_graph(seed));
  for (const Graph& graph : graphs) {
    SCOPED_TRACE(graph.name);
    const core::Tensors weights = random_weights(graph, 1);
    const std::vector<float> images = random_images(graph, 2, 3);
    const Graph cut = cut_at(graph, cut_points(graph));
    EXPECT_EQ(exit_segments(cut).size(), 1u);
    EXPECT_EQ(cost_of(cut).plain_macs, cost_of(cut).exit_macs.back());
    ReferencePredictor whole(graph, weights), in_parts(cut, weights);
    const auto all = whole.logits(images);
    const auto count = static_cast<std::ptrdiff_t>(2 * graph.classes);
    EXPECT_EQ(in_parts.logits(images), ReferencePredictor::Values(all.end() - count, all.end()));
  }
}

TEST(CutPoints, RefuseATensorThatIsNoCutPoint) {
  const Graph graph = small_resnet();
  EXPECT_THAT(
      [&] {
        cut_at(graph, {{"nowhere", "nowhere", {}, 0, 0}});
      },
      ThrowsMessage<Error>(HasSubstr("cannot cut after \"nowhere\"")));
  // The shortcut passes this convolution.
  EXPECT_THAT(
      [&] {
        cut_at(graph, {{"layer1.0.conv1", "x", {}, 0, 0}});
      },
      ThrowsMessage<Error>(HasSubstr("is not passed to this segment")));
}

TEST(WithEveryHead, HasOneExitForEachPointAndKind) {
  const Graph graph = small_resnet();
  const std::vector<CutPoint> points = cut_points(graph);
  const Graph all = with_every_head(graph, points, {"avg", "conv-spp"}, {1, 2});
  ASSERT_EQ(exit_segments(all).size(), 2 * points.size() + 1);
  const Cost cost = cost_of(all);
  EXPECT_EQ(cost.plain_macs, cost_of(graph).plain_macs);
  std::int64_t body = 0;
  for (std::size_t p = 0; p < points.size(); ++p) {
    body += cost.segments[2 * p].body.macs;
    EXPECT_EQ(body, points[p].macs);
    EXPECT_EQ(cost.segments[2 * p + 1].body.macs, 0);
    EXPECT_EQ(all.segments[2 * p + 1].feature, points[p].tensor);
    EXPECT_EQ(all.segments[2 * p].head.front().name, fmt::format("exits.{}.pool", 2 * p + 1));
    EXPECT_EQ(all.segments[2 * p + 1].head.front().name, fmt::format("exits.{}.conv", 2 * p + 2));
  }
  EXPECT_EQ(all.segments.back().head, graph.segments.back().head);
}

TEST(WithEveryHead, LeavesTheNetworkThatWithExitsBuilds) {
  NetworkSpec spec;
  spec.options.width = 4;
  const Graph plain = build_network(spec);
  const Graph all = with_every_head(plain, cut_points(plain), {"avg", "spp"}, spec.spp_levels);
  // Without all but the heads "spp" after layer1.1 and "avg" after layer3.0.
  std::vector<int> others;
  for (int k = 0; k < 16; ++k)
    if (k != 2 * 2 + 1 && k != 2 * 5) others.push_back(k);
  const Graph left = remove_exits(all, others);
  spec.exits = {"2", "5"};
  spec.heads = {"spp", "avg"};
  const Graph built = build_network(spec);
  EXPECT_EQ(cost_of(left).exit_macs, cost_of(built).exit_macs);
  ASSERT_EQ(left.segments.size(), built.segments.size());
  for (std::size_t i = 0; i < left.segments.size(); ++i) {
    EXPECT_EQ(left.segments[i].nodes, built.segments[i].nodes);
    EXPECT_EQ(left.segments[i].head, built.segments[i].head);
    EXPECT_EQ(left.segments[i].feature, built.segments[i].feature);
  }
}

TEST(WithEveryHead, RefusesUnknownAndRepeatedKinds) {
  const Graph graph = small_resnet();
  const auto build = [&](const std::vector<std::string>& kinds) {
    return [&graph, kinds] { with_every_head(graph, cut_points(graph), kinds, {1}); };
  };
  EXPECT_THAT(build({"conv_spp"}), ThrowsMessage<UsageError>(HasSubstr("\"conv-spp\"")));
  EXPECT_THAT(build({"avg", "avg"}),
              ThrowsMessage<UsageError>("network.head: \"avg\" is given twice"));
  EXPECT_THAT(build({}),
              ThrowsMessage<UsageError>("network.head: there must be at least one kind"));
}

}  // namespace
}  // namespace offramp::graph
