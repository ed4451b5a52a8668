// Compares the logits of the same network in LibTorch, which trains it, and in the runtime.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "graph/random_weights.h"
#include "tests/support/graphs.h"
#include "tests/support/reference.h"
#include "tests/support/runner_predictor.h"
#include "train/predictor.h"

namespace offramp::train {
namespace {

TEST(RuntimeParity, LibTorchAndTheRuntimeGiveTheSameLogits) {
  for (const graph::Graph& graph : example_graphs()) {
    model::ModelFile model;
    model.graph = graph;
    model.weights = graph::random_weights(graph, 3);
    const auto images = graph::random_images(graph, 5, 2);
    const auto theirs = make_torch_predictor(model, {})->predict_all(images);
    const auto ours = open_network(graph, model.weights, {})->predict_all(images);
    ASSERT_EQ(ours.size(), theirs.size()) << graph.name;
    float largest = 0, error = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
      largest = std::max(largest, std::abs(theirs[i]));
      error = std::max(error, std::abs(ours[i] - theirs[i]));
    }
    EXPECT_GT(largest, 0) << graph.name;
    // Each differs from the reference by at most 8e-5; network_test.cpp derives this bound.
    EXPECT_LE(error, 1.6e-4f * largest) << graph.name;
  }
}

}  // namespace
}  // namespace offramp::train
