// Properties that hold for any network, checked with the reference interpreter.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/random.h"
#include "graph/cost.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "tests/support/graphs.h"
#include "tests/support/random_graph.h"
#include "tests/support/reference.h"

namespace offramp::graph {
namespace {

class EveryNetwork : public testing::TestWithParam<Graph> {};

std::string test_name(const testing::TestParamInfo<Graph>& info) { return info.param.name; }

TEST_P(EveryNetwork, GivesFiniteAndDifferentLogitsAtEveryExit) {
  const Graph& graph = GetParam();
  ReferencePredictor reference(graph, random_weights(graph, 3));
  const std::vector<float> logits = reference.predict_all(random_images(graph, 2, 4));
  ASSERT_EQ(logits.size(), 3u * 2u * static_cast<std::size_t>(graph.classes));
  for (const float value : logits) EXPECT_TRUE(std::isfinite(value));
  const auto row = [&](std::size_t i) {
    const auto classes = static_cast<std::ptrdiff_t>(graph.classes);
    const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(i) * classes;
    return std::vector<float>(begin, begin + classes);
  };
  for (std::size_t i = 0; i < 6; ++i)
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(row(i), row(j));
}

TEST_P(EveryNetwork, StopsWhereTheRuleSaysAndRunsNoFurther) {
  const Graph& graph = GetParam();
  const Cost cost = cost_of(graph);
  const core::Tensors weights = random_weights(graph, 5);
  const int count = 7;
  const std::vector<float> images = random_images(graph, count, 6);
  ReferencePredictor all(graph, weights);
  const std::vector<float> logits = all.predict_all(images);
  EXPECT_EQ(all.executed_macs(), count * cost.exit_macs.back());

  ReferencePredictor adaptive(graph, weights);
  const auto stops = [](std::int64_t image, int exit_index) {
    return core::KeyedRandom(7, static_cast<std::uint64_t>(image)).below(3) <=
           static_cast<std::uint64_t>(exit_index);
  };
  const core::StoppedImages stopped =
      adaptive.predict_until(images, [&](std::int64_t image, const core::ExitOutput& output) {
        EXPECT_EQ(static_cast<std::int64_t>(output.logits.size()), graph.classes);
        // The return value of the visitor at the last exit has no effect.
        return output.exit_index < 2 && stops(image, output.exit_index);
      });

  const auto classes = static_cast<std::size_t>(graph.classes);
  std::int64_t macs = 0;
  ASSERT_EQ(stopped.exit_index.size(), 7u);
  for (std::size_t n = 0; n < 7; ++n) {
    int expected = 0;
    while (expected < 2 && !stops(static_cast<std::int64_t>(n), expected)) ++expected;
    EXPECT_EQ(stopped.exit_index[n], expected);
    macs += cost.exit_macs[static_cast<std::size_t>(expected)];
    for (std::size_t c = 0; c < classes; ++c)
      EXPECT_EQ(stopped.logits[n * classes + c],
                logits[(static_cast<std::size_t>(expected) * 7 + n) * classes + c]);
  }
  EXPECT_EQ(adaptive.executed_macs(), macs);
}

TEST_P(EveryNetwork, MergedIntoOneSegmentGivesTheSameLogitsAtTheLastExit) {
  const Graph& graph = GetParam();
  const Graph merged = merge_segments(graph, {});
  const std::vector<float> images = random_images(graph, 2, 8);
  // A tensor of random_weights() depends on its name, so tensors that are in both are equal.
  const auto cut = ReferencePredictor(graph, random_weights(graph, 9)).logits(images);
  const auto whole = ReferencePredictor(merged, random_weights(merged, 9)).logits(images);
  EXPECT_EQ(whole,
            std::vector<double>(cut.end() - static_cast<std::ptrdiff_t>(whole.size()), cut.end()));
  EXPECT_EQ(cost_of(merged).plain_macs, cost_of(graph).plain_macs);
  EXPECT_EQ(cost_of(merged).plain_parameters, cost_of(graph).plain_parameters);
}

TEST_P(EveryNetwork, TakesNoImagesAndReturnsNone) {
  ReferencePredictor reference(GetParam(), random_weights(GetParam(), 1));
  EXPECT_TRUE(reference.predict_all({}).empty());
  EXPECT_TRUE(reference.predict_until({}, {}).exit_index.empty());
}

INSTANTIATE_TEST_SUITE_P(Predictor, EveryNetwork, testing::ValuesIn(example_graphs()), test_name);

TEST(Predictor, UnitsGiveTheSameLogitsAsTheNetworkMergedFromThem) {
  for (const Backbone& backbone : backbones()) {
    const Graph units = backbone.build({.input = {3, 32, 35}, .classes = 4, .width = 4});
    const Graph graph = with_exits(units, {"3", "6"}, {"conv-avg"}, {1});
    const std::vector<float> images = random_images(units, 1, 2);
    const auto exits = ReferencePredictor(graph, random_weights(graph, 3)).logits(images);
    const auto plain = ReferencePredictor(units, random_weights(units, 3)).logits(images);
    EXPECT_EQ(plain, std::vector<double>(exits.end() - 4, exits.end())) << backbone.name;
  }
}

std::vector<std::string_view> operations_of(const std::vector<Graph>& graphs) {
  std::set<std::string_view> names;
  for (const Graph& graph : graphs)
    for (const Segment& segment : graph.segments)
      for (const auto* nodes : {&segment.nodes, &segment.head})
        for (const Node& node : *nodes) names.insert(op_name(node.op));
  return {names.begin(), names.end()};
}

// A new operation must be added to both lists, because the parity tests of all readers use them.
TEST(TestNetworks, UseEveryOperationBetweenThem) {
  EXPECT_EQ(operations_of(example_graphs()).size(), std::variant_size_v<Op>);
  std::vector<Graph> random;
  for (std::uint64_t seed = 0; seed < 20; ++seed) random.push_back(random_graph(seed));
  EXPECT_EQ(operations_of(random).size(), std::variant_size_v<Op>);
}

}  // namespace
}  // namespace offramp::graph
