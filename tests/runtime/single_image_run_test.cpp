#include "runtime/single_image_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "graph/cost.h"
#include "graph/random_weights.h"
#include "runtime/compile.h"
#include "tests/support/graphs.h"
#include "tests/support/random_graph.h"
#include "tests/support/runner_predictor.h"

namespace offramp::runtime {
namespace {

TEST(SingleImageRun, GivesTheLogitsOfAPredictorAtEveryExit) {
  std::vector<graph::Graph> graphs = example_graphs();
  for (std::uint64_t seed = 0; seed < 10; ++seed) graphs.push_back(random_graph(seed));
  for (const graph::Graph& graph : graphs) {
    SCOPED_TRACE(graph.name);
    const core::Tensors weights = graph::random_weights(graph, 3);
    const auto images = graph::random_images(graph, 2, 1);
    const std::size_t size = images.size() / 2;
    RunnerPredictor predictor(open_network(graph, weights, NetworkOptions{Precision::f32, 1, 2}));
    const auto expected = predictor.predict_all(images);
    WeightStore store;
    SingleImageRun image_run(compile(graph, weights, {}, store));
    const graph::Cost cost = graph::cost_of(graph);
    const auto classes = static_cast<std::size_t>(graph.classes);
    for (std::size_t n = 0; n < 2; ++n) {
      image_run.begin(std::span(images).subspan(n * size, size));
      EXPECT_EQ(image_run.exit_index(), -1);
      for (int k = 0; k < predictor.num_exits(); ++k) {
        const auto logits = image_run.advance();
        const auto row = expected.begin() + static_cast<std::ptrdiff_t>(
                                                (static_cast<std::size_t>(k) * 2 + n) * classes);
        EXPECT_TRUE(std::equal(logits.begin(), logits.end(), row)) << "exit " << k + 1;
        EXPECT_EQ(image_run.exit_index(), k);
        EXPECT_EQ(image_run.macs(), cost.exit_macs[static_cast<std::size_t>(k)]);
      }
    }
  }
}

TEST(SingleImageRun, DropsAnImageThatHasNotLeft) {
  const graph::Graph graph = two_scale();
  const core::Tensors weights = graph::random_weights(graph, 3);
  const auto images = graph::random_images(graph, 2, 1);
  const std::size_t size = images.size() / 2;
  WeightStore store;
  SingleImageRun image_run(compile(graph, weights, {}, store));
  const auto last = [&](std::size_t image) {
    image_run.begin(std::span(images).subspan(image * size, size));
    std::vector<float> logits;
    for (int k = 0; k < 3; ++k) {
      const auto output = image_run.advance();
      logits.assign(output.begin(), output.end());
    }
    return logits;
  };
  const auto expected = last(1);
  image_run.begin(std::span(images).first(size));
  image_run.advance();
  EXPECT_EQ(last(1), expected);
  EXPECT_NE(last(0), expected);
}

}  // namespace
}  // namespace offramp::runtime
