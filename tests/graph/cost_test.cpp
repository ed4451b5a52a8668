#include "graph/cost.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "graph/graph_builder.h"
#include "graph/network_spec.h"

namespace offramp::graph {
namespace {

OpCount count(const Op& op, const Shape& input, const Shape& output) {
  return count_node({"x", op, {"input"}}, {input}, output);
}

Cost cost_of_network(const std::string& backbone, const BackboneOptions& options) {
  NetworkSpec spec;
  spec.backbone = backbone;
  spec.options = options;
  return cost_of(build_network(spec));
}

BackboneOptions imagenet_options() {
  return {.input = {3, 224, 224}, .classes = 1000, .stem = Stem::imagenet, .width = 64};
}

TEST(Cost, OfSingleOperationsWorkedByHand) {
  // There are 5 × 4 × 6 outputs; each needs 3 channels × 3 × 3 MACs.
  EXPECT_EQ(count(Conv{.out_channels = 5, .kernel = 3}, {3, 6, 8}, {5, 4, 6}),
            (OpCount{5 * 4 * 6 * 27, 5 * 27}));
  EXPECT_EQ(count(Conv{.out_channels = 5, .kernel = 3, .bias = true}, {3, 6, 8}, {5, 4, 6}),
            (OpCount{5 * 4 * 6 * 27, 5 * 27 + 5}));
  // In a depthwise convolution each output reads one channel.
  EXPECT_EQ(
      count(Conv{.out_channels = 4, .kernel = 3, .padding = 1, .groups = 4}, {4, 7, 7}, {4, 7, 7}),
      (OpCount{4 * 49 * 9, 4 * 9}));
  EXPECT_EQ(count(Conv{.out_channels = 5, .kernel = {3, 2}, .dilation = 2}, {3, 6, 8}, {5, 2, 6}),
            (OpCount{5 * 2 * 6 * 18, 5 * 18}));
  EXPECT_EQ(count(LayerNorm{}, {7, 3, 3}, {7, 3, 3}), (OpCount{0, 14}));
  EXPECT_EQ(count(Silu{}, {7, 3, 3}, {7, 3, 3}), (OpCount{}));
  EXPECT_EQ(count(Linear{.out_features = 10}, {21}, {10}), (OpCount{210, 220}));
  EXPECT_EQ(count(Linear{.out_features = 10, .bias = false}, {21}, {10}), (OpCount{210, 210}));
  EXPECT_EQ(count(BatchNorm{}, {7, 3, 3}, {7, 3, 3}), (OpCount{0, 14}));
  EXPECT_EQ(count(SpatialPyramidPool{}, {7, 3, 3}, {147}), (OpCount{0, 0}));
}

TEST(Cost, OfANetworkWithoutMacsIsOneAtEveryExit) {
  Graph graph{"pools", {3, 4, 4}, 3, {}};
  graph.segments.push_back({"body", {{"pool", MaxPool{}, {"input"}}}, {}, "pool", {}});
  graph.segments[0].head = {{"logits", GlobalAvgPool{}, {"pool"}}};
  const Cost cost = cost_of(graph);
  EXPECT_EQ(cost.plain_macs, 0);
  EXPECT_EQ(cost.relative_costs(), std::vector<double>{1});
}

TEST(Cost, OfResNet18OnSmallImages) {
  // The network has a 3×3×3×64 stem, four stages of 3×3 convolutions and fc 512×10. The figure is
  // the one in the literature.
  const Cost cost = cost_of_network("resnet18", {});
  EXPECT_EQ(cost.plain_macs, 555'422'720);
  EXPECT_THAT(cost.exit_macs, testing::ElementsAre(555'422'720));
  EXPECT_EQ(cost.plain_parameters, 11'173'962);
}

TEST(Cost, SharesOfResNet18AfterEveryBlock) {
  const auto resnet18 = std::ranges::find(backbones(), "resnet18", &Backbone::name);
  ASSERT_NE(resnet18, backbones().end());
  const Cost cost = cost_of(resnet18->build({}));
  std::vector<double> shares;
  std::int64_t so_far = 0;
  for (const SegmentCost& segment : cost.segments) {
    so_far += segment.body.macs;
    shares.push_back(
        std::round(1000.0 * static_cast<double>(so_far) / static_cast<double>(cost.plain_macs)) /
        10);
  }
  EXPECT_THAT(shares, testing::ElementsAre(13.9, 27.5, 38.1, 51.7, 62.2, 75.8, 86.4, 100.0));
}

TEST(Cost, OfPublishedNetworksOnLargeImages) {
  // Figures of torchvision's documentation: resnet18 1.81 GMACs, 11689512; resnet34 3.66 GMACs,
  // 21797672.
  const Cost resnet18 = cost_of_network("resnet18", imagenet_options());
  EXPECT_EQ(resnet18.plain_macs, 1'814'073'344);
  EXPECT_EQ(resnet18.plain_parameters, 11'689'512);
  const Cost resnet34 = cost_of_network("resnet34", imagenet_options());
  EXPECT_EQ(resnet34.plain_macs, 3'663'761'408);
  EXPECT_EQ(resnet34.plain_parameters, 21'797'672);
  // Figures of the MobileNet paper, table 1: 569 million MACs, 4.2 million parameters.
  const Cost mobilenet = cost_of_network("mobilenet", imagenet_options());
  EXPECT_EQ(mobilenet.plain_macs, 568'740'352);
  EXPECT_EQ(mobilenet.plain_parameters, 4'231'976);
}

TEST(Cost, CountsTheHeadOfEveryExitThatWasAsked) {
  NetworkSpec spec;
  spec.exits = {"2", "4"};
  spec.heads = {"spp"};
  const Cost cost = cost_of(build_network(spec));
  // The stem has 1,769,472 MACs, a block that keeps the size 75,497,472, and a block that halves
  // the size 58,720,256.
  const std::int64_t first = 1'769'472 + 2 * 75'497'472;
  const std::int64_t second = 58'720'256 + 75'497'472;
  const std::int64_t third = 2 * (58'720'256 + 75'497'472);
  const std::int64_t head1 = 64 * 21 * 10, head2 = 128 * 21 * 10, last = 512 * 10;
  EXPECT_THAT(cost.exit_macs, testing::ElementsAre(first + head1, first + head1 + second + head2,
                                                   first + head1 + second + head2 + third + last));
  EXPECT_EQ(cost.plain_macs, first + second + third + last);
  EXPECT_EQ(cost.segments[0].head, (OpCount{head1, head1 + 10}));
  EXPECT_EQ(cost.total_parameters(), cost.plain_parameters + head1 + 10 + head2 + 10);
  EXPECT_DOUBLE_EQ(cost.relative(2),
                   1 + static_cast<double>(head1 + head2) / static_cast<double>(cost.plain_macs));
}

TEST(Cost, OfTheNetworkCutOffAtAnExitCountsNoOtherHead) {
  NetworkSpec spec;
  spec.exits = {"2", "4"};
  spec.heads = {"spp"};
  const Cost cost = cost_of(build_network(spec));
  const std::int64_t head1 = 64 * 21 * 10, head2 = 128 * 21 * 10;
  EXPECT_THAT(cost.truncated_macs,
              testing::ElementsAre(cost.exit_macs[0], cost.exit_macs[1] - head1,
                                   cost.exit_macs[2] - head1 - head2));
  EXPECT_EQ(cost.truncated_macs.back(), cost.plain_macs);
  const Cost plain = cost_of_network("resnet18", {});
  EXPECT_THAT(plain.truncated_macs, testing::ElementsAre(plain.plain_macs));
}

TEST(Cost, OfHeadsWithAConvolution) {
  NetworkSpec spec;
  spec.exits = {"3"};
  spec.heads = {"conv-avg"};
  // The feature is 128×16×16, so there are 8×8 outputs of 128 channels with 128 × 9 MACs each.
  const std::int64_t conv = 128 * 8 * 8 * 128 * 9;
  EXPECT_EQ(cost_of(build_network(spec)).segments[0].head,
            (OpCount{conv + 1280, 128 * 128 * 9 + 256 + 1290}));
  spec.heads = {"conv-spp"};
  EXPECT_EQ(cost_of(build_network(spec)).segments[0].head,
            (OpCount{conv + 26880, 128 * 128 * 9 + 256 + 26890}));
  spec.heads = {"avg"};
  EXPECT_EQ(cost_of(build_network(spec)).segments[0].head, (OpCount{1280, 1290}));
  // The convolutions have 8×8 outputs of 256 channels from 128 and 4×4 of 256 from 256. The linear
  // layer reads 21 bins of 256 channels.
  const std::int64_t first = 8 * 8 * 256 * 128 * 9, second = 4 * 4 * 256 * 256 * 9;
  spec.heads = {"deep-spp"};
  EXPECT_EQ(cost_of(build_network(spec)).segments[0].head,
            (OpCount{first + second + 53760, 256 * 128 * 9 + 512 + 256 * 256 * 9 + 512 + 53770}));
}

TEST(Cost, RefusesNetworksWhoseCostOverflows) {
  Graph graph{"heavy", {1, 32768, 65536}, 2, {}};
  std::vector<Node> nodes;
  std::string x = "input";
  // Each node has 2^31 positions × 32767² weights, about 2^61 MACs, close to the maximum of one
  // node.
  for (int i = 0; i < 8; ++i)
    x = append(nodes, fmt::format("conv{}", i),
               Conv{.out_channels = 1, .kernel = 32767, .padding = 16383}, {x});
  graph.segments.push_back(make_segment("body", nodes));
  append_classifier(graph.segments[0].head, x, 2);
  try {
    cost_of(graph);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "the network has more than 2^63 - 1 multiply-accumulates");
  }
}

}  // namespace
}  // namespace offramp::graph
