#include "graph/layer_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/network_spec.h"

namespace offramp::graph {
namespace {

using testing::HasSubstr;

Graph network_of_two_exits() {
  NetworkSpec spec;
  spec.exits = {"1"};
  return build_network(spec);
}

TEST(LayerTable, DescribesOperationsWithTheirAttributes) {
  EXPECT_EQ(describe(Conv{.out_channels = 8, .kernel = 1}), "conv 1x1");
  EXPECT_EQ(
      describe(Conv{
          .out_channels = 8, .kernel = 3, .stride = 2, .padding = 1, .groups = 4, .bias = true}),
      "conv 3x3, stride 2, padding 1, 4 groups, bias");
  EXPECT_EQ(describe(MaxPool{.kernel = 3, .stride = 2, .padding = 1}),
            "max_pool 3x3, stride 2, padding 1");
  EXPECT_EQ(describe(Conv{.out_channels = 8,
                          .kernel = {1, 7},
                          .stride = {1, 2},
                          .padding = {0, 3, 0, 3},
                          .dilation = 2}),
            "conv 1x7, stride 1x2, padding 0+0 rows and 3+3 columns, dilation 2");
  EXPECT_EQ(describe(AvgPool{3, 2, 1, true, false}),
            "avg_pool 3x3, stride 2, padding 1, rounded up, padding not counted");
  EXPECT_EQ(describe(AdaptiveAvgPool{{6, 7}}), "adaptive_avg_pool 6x7");
  EXPECT_EQ(describe(Clip{-1, 2.5}), "clip -1 to 2.5");
  EXPECT_EQ(describe(HardSigmoid{}), "hard_sigmoid 0.1666667, 0.5");
  EXPECT_EQ(describe(Gelu{true}), "gelu, tanh");
  EXPECT_EQ(describe(Slice{2, 5}), "slice 2 to 4");
  EXPECT_EQ(describe(ChannelShuffle{3}), "channel_shuffle, 3 groups");
  EXPECT_EQ(describe(LayerNorm{}), "layer_norm");
  EXPECT_EQ(describe(SpatialPyramidPool{{1, 3}}), "spatial_pyramid_pool 1,3");
  EXPECT_EQ(describe(Linear{.out_features = 2, .bias = false}), "linear, no bias");
}

TEST(LayerTable, HoldsOneRowPerNodeThatAddUpToTheCost) {
  const Graph graph = network_of_two_exits();
  const Cost cost = cost_of(graph);
  std::vector<SegmentCost> sums(graph.segments.size());
  for (const LayerRow& row : layer_rows(graph)) {
    SegmentCost& sum = sums[static_cast<std::size_t>(row.segment)];
    OpCount& part = row.in_head ? sum.head : sum.body;
    part.macs += row.count.macs;
    part.parameters += row.count.parameters;
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    EXPECT_EQ(sums[i].body, cost.segments[i].body);
    EXPECT_EQ(sums[i].head, cost.segments[i].head);
  }
}

TEST(LayerTable, PrintsLayersSubtotalsAndTheCostOfEveryExit) {
  const std::string table = layer_table(network_of_two_exits());
  EXPECT_THAT(table, testing::ContainsRegex(
                         "\n  conv1 +conv 3x3, padding 1 +.64,32,32. +1,769,472 +1,728\n"));
  EXPECT_THAT(table, testing::ContainsRegex("\nsegment layer1.0 +77,266,944 +75,840\n"));
  EXPECT_THAT(table, HasSubstr("plain network: 555,422,720 MACs, 11,173,962 parameters"));
  EXPECT_THAT(table, HasSubstr("stopping at exit 1: 77,280,384 MACs, relative cost 0.139\n"));
  EXPECT_THAT(table, HasSubstr("stopping at exit 2: 555,436,160 MACs, relative cost 1.000\n"));
}

}  // namespace
}  // namespace offramp::graph
