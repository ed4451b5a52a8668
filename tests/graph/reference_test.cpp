// Tests of the reference interpreter. Expected values were computed by hand or with PyTorch.
#include "tests/support/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"
#include "graph/graph_builder.h"
#include "graph/random_weights.h"
#include "tests/support/message_of.h"

namespace offramp::graph {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using Values = std::vector<double>;

/// Runs one operation, a node called "x", on `input`. Its parameters are called "x.…".
Values run(const Op& op, const Shape& shape, const std::vector<float>& input,
           const core::Tensors& weights = {}, std::vector<std::string> inputs = {"input"}) {
  Graph graph{"one", shape, 2, {}};
  std::vector<Node> nodes;
  append(nodes, "x", op, std::move(inputs));
  graph.segments.push_back(make_segment("body", nodes));
  graph.segments[0].feature = "input";
  append_classifier(graph.segments[0].head, "input", 2);
  core::Tensors all = random_weights(graph, 1);
  for (const auto& [name, tensor] : weights) all[name] = tensor;
  return ReferencePredictor(graph, all).tensors(input).at("x");
}

std::vector<float> counted(std::int64_t count, float first = 1) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), first);
  return values;
}

core::HostTensor tensor(std::vector<std::int64_t> shape, std::vector<float> values) {
  return core::HostTensor::of(std::move(shape), std::span<const float>(values));
}

TEST(Reference, ConvolvesWithoutFlippingTheKernel) {
  // The kernel computes each element minus twice the one below and to its right.
  EXPECT_THAT(run(Conv{.out_channels = 1, .kernel = 2}, {1, 3, 3}, counted(9),
                  {{"x.weight", tensor({1, 1, 2, 2}, {1, 0, 0, -2})}}),
              ElementsAre(1 - 10, 2 - 12, 4 - 16, 5 - 18));
}

TEST(Reference, ConvolvesWithStridePaddingAndBias) {
  // A kernel of ones sums the elements in its window; at the corners of a padded 3×3 there are
  // four.
  EXPECT_THAT(run(Conv{.out_channels = 1, .kernel = 3, .stride = 2, .padding = 1, .bias = true},
                  {1, 3, 3}, counted(9),
                  {{"x.weight", tensor({1, 1, 3, 3}, std::vector<float>(9, 1))},
                   {"x.bias", tensor({1}, {100})}}),
              ElementsAre(112, 116, 124, 128));
}

TEST(Reference, ConvolvesGroupsApart) {
  // There are two groups of two channels at one position, 1 2 | 3 4, with two outputs each.
  EXPECT_THAT(run(Conv{.out_channels = 4, .kernel = 1, .groups = 2}, {4, 1, 1}, counted(4),
                  {{"x.weight", tensor({4, 2, 1, 1}, {1, 1, 1, -1, 10, 1, 0, 1})}}),
              ElementsAre(3, -1, 34, 4));
}

TEST(Reference, NormalisesWithRunningStatistics) {
  const Values out = run(BatchNorm{.eps = 1}, {2, 1, 2}, {5, 9, 1, 3},
                         {{"x.weight", tensor({2}, {2, 1})},
                          {"x.bias", tensor({2}, {1, -1})},
                          {"x.running_mean", tensor({2}, {5, 0})},
                          {"x.running_var", tensor({2}, {3, 8})}});
  EXPECT_THAT(out, ElementsAre(DoubleEq(1), DoubleEq(5), DoubleEq(1.0 / 3 - 1), DoubleEq(0)));
}

TEST(Reference, ClipsAddsJoinsAndFlattens) {
  const std::vector<float> input = {-1, 3, 7, 0};
  EXPECT_THAT(run(Relu{}, {1, 2, 2}, input), ElementsAre(0, 3, 7, 0));
  EXPECT_THAT(run(Relu6{}, {1, 2, 2}, input), ElementsAre(0, 3, 6, 0));
  EXPECT_THAT(run(Add{}, {1, 2, 2}, input, {}, {"input", "input", "input"}),
              ElementsAre(-3, 9, 21, 0));
  EXPECT_THAT(run(Concat{}, {1, 2, 2}, input, {}, {"input", "input"}),
              ElementsAre(-1, 3, 7, 0, -1, 3, 7, 0));
  EXPECT_THAT(run(Flatten{}, {1, 2, 2}, input), ElementsAre(-1, 3, 7, 0));
}

TEST(Reference, ConvolvesWithDilationAndPaddingThatDiffersBetweenSides) {
  // The kernel adds an element and the one two columns to its right; 1 2 3 has two zeros before it.
  EXPECT_THAT(
      run(Conv{.out_channels = 1, .kernel = {1, 2}, .padding = {0, 2, 0, 0}, .dilation = {1, 2}},
          {1, 1, 3}, counted(3), {{"x.weight", tensor({1, 1, 1, 2}, {1, 1})}}),
      ElementsAre(1, 2, 1 + 3));
}

TEST(Reference, ComputesActivations) {
  const auto of = [](const Op& op, float x) { return run(op, {1, 1, 1}, {x})[0]; };
  EXPECT_EQ(of(Clip{-1, 2}, -3), -1);
  EXPECT_EQ(of(Clip{-1, 2}, 3), 2);
  EXPECT_DOUBLE_EQ(of(Sigmoid{}, 0), 0.5);
  EXPECT_DOUBLE_EQ(of(HardSigmoid{0.25, 0.5}, 1), 0.75);
  EXPECT_DOUBLE_EQ(of(HardSwish{}, -1), -1.0 / 3);
  // Φ(1) = 0.841344746, sigmoid(1) = 0.731058579; the approximation of gelu is that of the paper.
  EXPECT_NEAR(of(Silu{}, 1), 0.731058579, 1e-9);
  EXPECT_NEAR(of(Gelu{}, 1), 0.841344746, 1e-9);
  EXPECT_NEAR(of(Gelu{true}, 1), 0.841191991, 1e-9);
}

TEST(Reference, MultipliesSlicesAndShuffles) {
  EXPECT_THAT(run(Multiply{}, {2, 1, 2}, counted(4), {}, {"input", "input"}),
              ElementsAre(1, 4, 9, 16));
  EXPECT_THAT(run(Slice{1, 3}, {4, 1, 1}, counted(4)), ElementsAre(2, 3));
  EXPECT_THAT(run(ChannelShuffle{2}, {6, 1, 1}, counted(6)), ElementsAre(1, 4, 2, 5, 3, 6));
}

TEST(Reference, NormalisesOverChannels) {
  // The channels of the first position are 1 and 5: mean 3, variance 4.
  const Values out = run(LayerNorm{.eps = 12}, {2, 1, 2}, {1, 7, 5, 7},
                         {{"x.weight", tensor({2}, {2, 6})}, {"x.bias", tensor({2}, {1, -1})}});
  EXPECT_THAT(out, ElementsAre(DoubleEq(0), DoubleEq(1), DoubleEq(2), DoubleEq(-1)));
}

TEST(Reference, CountsOnlyWhatAMeanCovers) {
  // 1 2 3 in windows of two with a zero before: 0 1, 2 3 or, without padding, 1, 2 3.
  const Padding before{0, 1, 0, 0};
  EXPECT_THAT(run(AvgPool{{1, 2}, 2, before}, {1, 1, 3}, counted(3)), ElementsAre(0.5, 2.5));
  EXPECT_THAT(run(AvgPool{{1, 2}, 2, before, false, false}, {1, 1, 3}, counted(3)),
              ElementsAre(1, 2.5));
  // Rounded up without padding: 1 2, and 3 alone.
  EXPECT_THAT(run(AvgPool{{1, 2}, 2, 0, true}, {1, 1, 3}, counted(3)), ElementsAre(1.5, 3));
  // Bins of 1 2 and 2 3.
  EXPECT_THAT(run(AdaptiveAvgPool{{1, 2}}, {1, 1, 3}, counted(3)), ElementsAre(1.5, 2.5));
}

TEST(Reference, PoolsWithPaddingThatNeverWinsAMaximum) {
  EXPECT_THAT(run(MaxPool{.kernel = 3, .stride = 2, .padding = 1}, {1, 3, 3}, counted(9, -9)),
              ElementsAre(-5, -4, -2, -1));
}

TEST(Reference, RoundsPoolSizesDown) {
  EXPECT_THAT(run(MaxPool{}, {1, 3, 5}, counted(15)), ElementsAre(7, 9));
}

TEST(Reference, CountsPaddingInAMean) {
  // The corner windows contain 1 2 4 5, 2 3 5 6, …, and their sums are divided by nine as well.
  EXPECT_THAT(
      run(AvgPool{.kernel = 3, .stride = 2, .padding = 1}, {1, 3, 3}, counted(9)),
      ElementsAre(DoubleEq(12 / 9.0), DoubleEq(16 / 9.0), DoubleEq(24 / 9.0), DoubleEq(28 / 9.0)));
  EXPECT_THAT(run(GlobalAvgPool{}, {2, 2, 2}, counted(8)), ElementsAre(2.5, 6.5));
}

TEST(Reference, AppliesLinearLayers) {
  Graph graph{"linear", {2, 1, 1}, 2, {}};
  graph.segments.push_back(
      {.name = "body", .nodes = {}, .outputs = {}, .feature = "input", .head = {}});
  append_classifier(graph.segments[0].head, "input", 2);
  ReferencePredictor reference(
      graph, {{"fc.weight", tensor({2, 2}, {1, 2, 3, 4})}, {"fc.bias", tensor({2}, {10, 20})}});
  EXPECT_THAT(reference.logits(std::vector<float>{5, 7}), ElementsAre(10 + 19, 20 + 43));
}

TEST(Reference, PoolsPyramidBinsThatDoNotDivideTheSize) {
  // With 3 rows and 2 bins, the bins cover rows 0-1 and 1-2 (floor(i 3 / 2) to ceil((i + 1) 3 / 2)
  // - 1). The middle row belongs to both. The same holds for columns.
  EXPECT_THAT(run(SpatialPyramidPool{{1, 2}}, {1, 3, 3}, {9, 1, 2, 0, 3, 4, 5, 6, 7}),
              ElementsAre(9, 9, 4, 6, 7));
  // With 5 columns and 3 bins, the bins cover columns 0-1, 1-3 and 3-4. The only row is in all
  // bins.
  EXPECT_THAT(run(SpatialPyramidPool{{3}}, {1, 1, 5}, {3, 2, 1, 4, 0}),
              ElementsAre(3, 4, 4, 3, 4, 4, 3, 4, 4));
}

TEST(Reference, PoolsPyramidsAsPyTorchPrintedThem) {
  // The values are from torch 1.13: adaptive_max_pool2d(x, l) of x[i] = 37 i mod 35 as 7×5 and of
  // x[i] = 5 i mod 9 as 3×3, the latter with more bins than rows.
  std::vector<float> input;
  for (int i = 0; i < 35; ++i) input.push_back(static_cast<float>(37 * i % 35));
  EXPECT_THAT(run(SpatialPyramidPool{{3, 4}}, {1, 7, 5}, input),
              ElementsAre(22, 26, 28, 32, 34, 28, 27, 31, 33,  //
                          12, 14, 16, 18, 32, 34, 34, 28, 32, 34, 34, 23, 27, 29, 31, 33));
  EXPECT_THAT(run(SpatialPyramidPool{{4}}, {1, 3, 3}, {0, 5, 1, 6, 2, 7, 3, 8, 4}),
              ElementsAre(0, 5, 5, 1, 6, 6, 7, 7, 6, 8, 8, 7, 3, 8, 8, 4));
}

TEST(Reference, FlattensPyramidLevelsChannelFirst) {
  EXPECT_THAT(run(SpatialPyramidPool{{1, 2}}, {2, 2, 2}, counted(8)),
              ElementsAre(4, 8, 1, 2, 3, 4, 5, 6, 7, 8));
}

TEST(Reference, RefusesWeightsThatDoNotFit) {
  Graph graph{"linear", {2, 1, 1}, 2, {}};
  graph.segments.push_back(
      {.name = "body", .nodes = {}, .outputs = {}, .feature = "input", .head = {}});
  append_classifier(graph.segments[0].head, "input", 2);
  const auto message = [&](const core::Tensors& weights) {
    return test::message_of([&] { ReferencePredictor(graph, weights); });
  };
  EXPECT_EQ(message({}), "tensor \"fc.weight\" is missing");
  EXPECT_EQ(message({{"fc.weight", tensor({2, 1}, {1, 2})}}),
            "tensor \"fc.weight\": got [2,1], expected [2,2]");
}

}  // namespace
}  // namespace offramp::graph
