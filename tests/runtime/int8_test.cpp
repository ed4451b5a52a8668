#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/random.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "policy/policy.h"
#include "runtime/activation_ranges.h"
#include "runtime/compile.h"
#include "runtime/quantised_elements.h"
#include "tests/support/graphs.h"
#include "tests/support/instruction_set_cap.h"
#include "tests/support/random_graph.h"
#include "tests/support/reference.h"
#include "tests/support/runner_predictor.h"

namespace offramp::runtime {
namespace {

[[maybe_unused]] testing::Environment* const kCap =
    testing::AddGlobalTestEnvironment(new test::InstructionSetCap);

using testing::HasSubstr;
using testing::ThrowsMessage;

class Int8 : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_instructions_for(Precision::int8)) GTEST_SKIP() << "no 8-bit instructions here";
  }
};

std::shared_ptr<engine::OpenedModel> int8_model(const graph::Graph& graph,
                                                const core::Tensors& weights, int threads,
                                                int batch) {
  NetworkOptions options{Precision::int8, threads, batch};
  options.ranges = observe_ranges(graph, weights, graph::random_images(graph, 24, 77), 1);
  return open_network(graph, weights, options);
}

std::vector<graph::Graph> networks() {
  std::vector<graph::Graph> graphs = example_graphs();
  for (std::uint64_t seed = 0; seed < 20; ++seed) graphs.push_back(random_graph(seed));
  return graphs;
}

/// A convolution of 3 → 5 channels whose weights and inputs are multiples of their steps, so that
/// the only rounding is that of the output.
struct ExactConvolution {
  graph::Graph graph;
  core::Tensors weights;
  model::ActivationRanges ranges = {{"input", {127 * 0.5f, true}}, {"y", {255 * 0.25f, false}}};

  explicit ExactConvolution(bool with_shortcut) {
    graph.name = "followed";
    graph.input = {3, 4, 5};
    graph.classes = 60;
    graph::Segment segment;
    const graph::Conv conv{.out_channels = 3, .kernel = 3, .padding = 1, .bias = true};
    segment.nodes = {{"conv", conv, {"input"}}};
    if (with_shortcut) segment.nodes.push_back({"sum", graph::Add{}, {"conv", "input"}});
    segment.nodes.push_back({"y", graph::Relu{}, {with_shortcut ? "sum" : "conv"}});
    segment.feature = "y";
    segment.head = {{"flat", graph::Flatten{}, {"y"}},
                    {"fc", graph::Linear{.out_features = 60}, {"flat"}}};
    graph.segments = {segment};
    weights = graph::random_weights(graph, 1);
    core::KeyedRandom random(9, 9);
    // Every channel has a weight of 1, so that its step is 1/127; the other weights are multiples.
    std::vector<float> values(81), bias(3), unit(3600, 0.0f);
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = i % 27 == 0 ? 1.0f : static_cast<float>(random.below(255)) / 127.0f - 1.0f;
    for (float& value : bias) value = random.uniform(-3, 3);
    for (std::size_t i = 0; i < 60; ++i) unit[i * 61] = 1;
    weights.insert_or_assign("conv.weight", core::HostTensor::of({3, 3, 3, 3}, values));
    weights.insert_or_assign("conv.bias", core::HostTensor::of({3}, bias));
    weights.insert_or_assign("fc.weight", core::HostTensor::of({60, 60}, unit));
    weights.insert_or_assign("fc.bias", core::HostTensor::of({60}, std::vector<float>(60, 0.0f)));
  }
};

// The reference computes in double with the same weights, so the only difference is the rounding of
// y.
TEST_F(Int8, RoundsNothingButWhatItStores) {
  for (const bool with_shortcut : {false, true}) {
    const ExactConvolution one(with_shortcut);
    core::KeyedRandom random(3, 4);
    std::vector<float> images(4 * 60);
    for (float& value : images) value = 0.5f * (static_cast<float>(random.below(60)) - 30.0f);
    ReferencePredictor reference(one.graph, one.weights);
    const auto expected = reference.logits(images);
    NetworkOptions options{Precision::int8, 1, 2};
    options.ranges = one.ranges;
    RunnerPredictor ours(open_network(one.graph, one.weights, options));
    const auto actual = ours.predict_all(images);
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
      const double saturated = std::min<double>(expected[i], 255 * 0.25);
      EXPECT_NEAR(actual[i], saturated, 0.125 + 1e-3) << i;
      EXPECT_EQ(actual[i], 0.25f * std::nearbyint(actual[i] / 0.25f));
    }
  }
}

TEST_F(Int8, ComesNearTheReferenceOnEveryNetwork) {
  for (const graph::Graph& graph : networks()) {
    SCOPED_TRACE(graph.name);
    const core::Tensors weights = graph::random_weights(graph, 11);
    const auto images = graph::random_images(graph, 6, 5);
    ReferencePredictor reference(graph, weights);
    const auto expected = reference.logits(images);
    RunnerPredictor ours(int8_model(graph, weights, 1, 4));
    const auto actual = ours.predict_all(images);
    // About twenty tensors are each rounded to 1/200 of their range, and random weights can cancel
    // each other, which increases the relative error: 0.15 is an observed upper bound.
    double error = 0, size = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      error += std::pow(actual[i] - expected[i], 2);
      size += std::pow(expected[i], 2);
    }
    EXPECT_LT(std::sqrt(error / size), 0.2);
  }
}

TEST_F(Int8, GivesTheSameBitsWhateverTheBatchAndTheThreads) {
  for (const graph::Graph& graph : networks()) {
    SCOPED_TRACE(graph.name);
    const core::Tensors weights = graph::random_weights(graph, 2);
    const auto images = graph::random_images(graph, 11, 8);
    const auto size = images.size() / 11;
    RunnerPredictor many(int8_model(graph, weights, 2, 4));
    const auto together = many.predict_all(images);
    const auto classes = static_cast<std::size_t>(graph.classes);
    for (std::size_t n = 0; n < 11; ++n) {
      const auto alone = many.predict_all(std::span(images).subspan(n * size, size));
      for (std::size_t k = 0; k < alone.size() / classes; ++k)
        for (std::size_t c = 0; c < classes; ++c)
          ASSERT_EQ(alone[k * classes + c], together[(k * 11 + n) * classes + c]);
    }
  }
}

/// A graph with the sum of `addends` convolutions of the input, which is not fused into any of
/// them.
graph::Graph sum_of(int addends) {
  graph::Segment segment;
  std::vector<std::string> names;
  for (int i = 0; i < addends; ++i) {
    names.push_back("k" + std::to_string(i));
    segment.nodes.push_back({names.back(), graph::Conv{.out_channels = 5, .kernel = 1}, {"input"}});
  }
  segment.nodes.push_back({"sum", graph::Add{}, names});
  segment.feature = "sum";
  segment.head = {{"pool", graph::GlobalAvgPool{}, {"sum"}},
                  {"fc", graph::Linear{.out_features = 3}, {"pool"}}};
  return {"sum", {3, 6, 5}, 3, {segment}};
}

TEST_F(Int8, AddsAnyNumberOfTensors) {
  for (const int addends : {3, 8, 9, 40}) {
    SCOPED_TRACE(addends);
    const graph::Graph graph = sum_of(addends);
    const core::Tensors weights = graph::random_weights(graph, 4);
    const auto images = graph::random_images(graph, 6, 2);
    ReferencePredictor reference(graph, weights);
    const auto expected = reference.logits(images);
    const auto ours = RunnerPredictor(int8_model(graph, weights, 1, 4)).predict_all(images);
    double largest = 0;
    for (const double value : expected) largest = std::max(largest, std::abs(value));
    for (std::size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(ours[i], expected[i], 0.05 * largest);
  }
}

TEST_F(Int8, KeepsEveryImageInEightBits) {
  for (const graph::Graph& graph : networks()) {
    const auto model = int8_model(graph, graph::random_weights(graph, 1), 1, 4);
    for (const CompiledRow& row : compiled_rows(*model->batch_network())) {
      EXPECT_THAT(row.implementation, testing::Not(HasSubstr("ref"))) << row.output;
      for (const Layout& src : row.srcs)
        EXPECT_EQ(src.element.is_quantised(), src.shape.size() == 3) << row.output;
    }
  }
}

TEST_F(Int8, NeedsARangeForEveryImage) {
  const graph::Graph graph = small_resnet();
  const core::Tensors weights = graph::random_weights(graph, 1);
  NetworkOptions options{Precision::int8, 1, 1};
  options.ranges = observe_ranges(graph, weights, graph::random_images(graph, 2, 1), 1);
  const auto compiling = [&] { open_network(graph, weights, options); };
  EXPECT_NO_THROW(compiling());
  const model::ActivationRanges whole = options.ranges;
  options.ranges.erase("layer1.0.relu1");
  EXPECT_THAT(compiling, ThrowsMessage<Error>("tensor \"layer1.0.relu1\" has no range"));
  options.ranges = whole;
  options.ranges["input"].magnitude = std::nanf("");
  EXPECT_THAT(compiling, ThrowsMessage<Error>(HasSubstr("\"input\": its range must be a number")));
  options.ranges["input"].magnitude = 1e-39f;
  EXPECT_THAT(compiling, ThrowsMessage<Error>(HasSubstr("\"input\": its range must be a number")));
}

/// A graph of a convolution of 3 → 4 channels, a batch norm and the mean of every channel.
struct Normed {
  graph::Graph graph;
  core::Tensors weights;

  explicit Normed(const std::vector<float>& gamma) {
    graph::Segment segment;
    segment.nodes = {{"conv", graph::Conv{.out_channels = 4, .kernel = 1}, {"input"}},
                     {"bn", graph::BatchNorm{}, {"conv"}}};
    segment.feature = "bn";
    segment.head = {{"pool", graph::GlobalAvgPool{}, {"bn"}},
                    {"fc", graph::Linear{.out_features = 4}, {"pool"}}};
    graph = {"normed", {3, 8, 8}, 4, {segment}};
    weights = graph::random_weights(graph, 1);
    weights.insert_or_assign("bn.weight", core::HostTensor::of({4}, gamma));
    weights.insert_or_assign("bn.bias",
                             core::HostTensor::of({4}, std::vector{0.5f, 0.5f, -1.0f, 0.25f}));
  }
};

// A channel whose weights a batch norm makes almost zero must still output its bias.
TEST_F(Int8, KeepsTheBiasOfAChannelWhoseWeightsAreAlmostZero) {
  for (const float tiny : {0.0f, 1e-45f, 1e-37f, 1e-33f, 1e-29f, 1e-20f}) {
    SCOPED_TRACE(tiny);
    const Normed one({tiny, 1, -tiny, tiny});
    const auto images = graph::random_images(one.graph, 5, 2);
    ReferencePredictor reference(one.graph, one.weights);
    const auto expected = reference.logits(images);
    RunnerPredictor ours(int8_model(one.graph, one.weights, 1, 4));
    const auto logits = ours.predict_all(images);
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(logits[i], expected[i], 0.05);
  }
}

TEST(ActivationRanges, SeeEveryTensorWithItsSign) {
  const graph::Graph graph = small_resnet();
  const model::ActivationRanges ranges =
      observe_ranges(graph, graph::random_weights(graph, 1), graph::random_images(graph, 9, 1), 2);
  EXPECT_TRUE(ranges.at("input").is_signed);
  EXPECT_FALSE(ranges.at("layer2.0.relu1").is_signed);
  EXPECT_TRUE(ranges.at("layer2.0.downsample.1").is_signed);
  for (const auto& [tensor, range] : ranges) EXPECT_GT(range.magnitude, 0) << tensor;
  EXPECT_THAT([&] { observe_ranges(graph, graph::random_weights(graph, 1), {}, 1); },
              ThrowsMessage<Error>(HasSubstr("no images")));
}

TEST(ActivationRanges, OfTensorsThatAreAlmostZeroAreArbitrary) {
  const Normed one({1, 1, 1, 1});
  const std::vector<float> images(192, 1e-40f);
  const model::ActivationRanges ranges = observe_ranges(one.graph, one.weights, images, 1);
  EXPECT_EQ(ranges.at("input").magnitude, 1);
}

TEST(ActivationRanges, AreRefusedWhereValuesAreNotFinite) {
  const Normed one({1, 1e38f, 1, 1});
  const std::vector<float> images(192, 3e3f);
  EXPECT_THAT([&] { observe_ranges(one.graph, one.weights, images, 1); },
              ThrowsMessage<Error>(HasSubstr("tensor \"bn\": a value is larger than")));
  std::vector<float> with_nan(192, 0.5f);
  with_nan[17] = std::nanf("");
  EXPECT_THAT([&] { observe_ranges(one.graph, one.weights, with_nan, 1); },
              ThrowsMessage<Error>(HasSubstr("a value is larger than 1e+15 or not finite")));
}

TEST(ActivationRanges, ShareScalesOfAsManyTensorsAsANetworkHas) {
  LoweredSegment segment;
  model::ActivationRanges ranges = {{"input", {3, false}}};
  std::string last = "input";
  for (int i = 0; i < 100000; ++i) {
    const std::string name = "n" + std::to_string(i);
    segment.body.push_back({name, graph::MaxPool{1, 1, 0}, {last}, {}});
    ranges[name] = {i == 70000 ? 5.0f : 1.0f, false};
    last = name;
  }
  const auto elements = quantised_elements({segment}, ranges);
  for (const char* tensor : {"input", "n0", "n99999"})
    EXPECT_FLOAT_EQ(elements.at(tensor).scale, 5.0f / 255) << tensor;
}

TEST(ActivationRanges, SaturateRareLargeValues) {
  // One in 60 values is 100 times as large as the others. A range that includes it rounds the
  // others coarsely, but cutting it off causes a larger error. A single such value in many is cut
  // off.
  graph::Graph graph = ExactConvolution(false).graph;
  core::Tensors weights = ExactConvolution(false).weights;
  std::vector<float> images(60 * 400, 0.5f);
  images[7] = 3;
  const model::ActivationRanges ranges = observe_ranges(graph, weights, images, 1);
  EXPECT_LT(ranges.at("input").magnitude, 3);
  EXPECT_GE(ranges.at("input").magnitude, 0.5f);
  for (std::size_t i = 0; i < images.size(); i += 60) images[i] = 3;
  EXPECT_GT(observe_ranges(graph, weights, images, 1).at("input").magnitude, 2.9f);
}

TEST(ActivationRanges, ShareTheScaleOfJoinedTensors) {
  const ExactConvolution one(false);
  LoweredSegment segment;
  segment.body = {{"a", graph::MaxPool{2, 2, 0}, {"input"}, {}},
                  {"b", graph::Concat{}, {"a", "c"}, {}}};
  const model::ActivationRanges ranges = {
      {"input", {2, true}}, {"a", {1, false}}, {"b", {4, false}}};
  const auto elements = quantised_elements({segment}, ranges);
  for (const char* tensor : {"input", "a", "b"}) {
    EXPECT_EQ(elements.at(tensor).dtype, core::DType::i8) << tensor;
    EXPECT_FLOAT_EQ(elements.at(tensor).scale, 4.0f / 127) << tensor;
  }
}

}  // namespace
}  // namespace offramp::runtime
