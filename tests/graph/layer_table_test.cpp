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

TEST(Table, DescribesOperationsWithTheirAttributes) {
  EXPECT_EQ(describe(Conv{.out_channels = 8, .kernel = 1}), "conv 1x1");
  EXPECT_EQ(
      describe(Conv{
          .out_channels = 8, .kernel = 3, .stride = 2, .padding = 1, .groups = 4, .bias = true}),
      "conv 3x3, stride 2, padding 1, 4 groups, bias");
  EXPECT_EQ(describe(MaxPool{.kernel = 3, .stride = 2, .padding = 1}),
            "max_pool 3x3, stride 2, padding 1");
  EXPECT_EQ(describe(SpatialPyramidPool{{1, 3}}), "spatial_pyramid_pool 1,3");
  EXPECT_EQ(describe(Linear{.out_features = 2, .bias = false}), "linear, no bias");
}

TEST(Table, HoldsOneRowPerNodeThatAddUpToTheCost) {
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

TEST(Table, PrintsLayersSubtotalsAndTheCostOfEveryExit) {
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
