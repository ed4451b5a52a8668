#include "runtime/predictor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>
#include <thread>

#include "core/error.h"
#include "core/random.h"
#include "graph/cost.h"
#include "graph/network.h"
#include "runtime/compile.h"
#include "tests/support/graphs.h"
#include "tests/support/random_graph.h"
#include "tests/support/random_weights.h"
#include "tests/support/reference.h"

namespace offramp {
namespace {

using testing::Each;

std::shared_ptr<const RuntimeModel> model_of(const Graph& graph, std::uint64_t seed,
                                             const RuntimeOptions& options) {
  return std::make_shared<RuntimeModel>(graph, random_weights(graph, seed), options);
}

// max |a - b| / max |b|, as the project measures logits.
template <typename A, typename B>
double relative_error(const A& a, const B& b) {
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    if (!std::isfinite(x)) return std::numeric_limits<double>::infinity();
    difference = std::max(difference, std::abs(x - y));
    largest = std::max(largest, std::abs(y));
  }
  return difference / largest;
}

/// What the network is tried on.
std::vector<Graph> networks() {
  std::vector<Graph> graphs = example_graphs();
  NetworkSpec spec;
  spec.backbone = "resnet34";
  spec.options = {{3, 65, 47}, 13, Stem::imagenet, 8};
  spec.exits = {"3", "60%"};
  spec.head = "conv-spp";
  spec.spp_levels = {1, 3};
  graphs.push_back(build_network(spec));
  for (std::uint64_t seed = 0; seed < 30; ++seed) graphs.push_back(random_graph(seed));
  return graphs;
}

struct Tolerance {
  Precision precision;
  // f32: about 20 layers of sums over at most 4,608 terms, each term rounded to 2^-24, errors
  // adding as their root: 20 sqrt(4608) 2^-24 ≈ 8e-5. bf16: 20 roundings of activations and weights
  // to 2^-9, adding as their root, is 1.7e-2 of a typical logit; the largest error of all logits is
  // some times that.
  double bound;
};

class Parity : public testing::TestWithParam<Tolerance> {};

TEST_P(Parity, LogitsOfEveryExitAgreeWithTheReference) {
  for (const Graph& graph : networks()) {
    SCOPED_TRACE(graph.name);
    const auto images = random_images(graph, 5, 5);
    ReferencePredictor reference(graph, random_weights(graph, 11));
    const auto expected = reference.logits(images);
    for (const int batch : {1, 2, 4})
      for (const int threads : {1, 2}) {
        RuntimePredictor ours(model_of(graph, 11, {GetParam().precision, threads, batch}));
        EXPECT_LT(relative_error(ours.predict_all(images), expected), GetParam().bound)
            << "batch " << batch << ", " << threads << " threads";
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, Parity,
                         testing::Values(Tolerance{Precision::f32, 8e-5},
                                         Tolerance{Precision::bf16, 8e-2}));

TEST(Runtime, WinogradStaysWithinATenthOfAPercent) {
  NetworkSpec spec;
  spec.options.width = 16;
  spec.exits = {"2"};
  const Graph graph = build_network(spec);
  RuntimeOptions options{Precision::f32, 2, 4};
  options.winograd = {"layer1.0.relu1", "layer2.1.relu2"};
  const auto images = random_images(graph, 5, 3);
  RuntimePredictor ours(model_of(graph, 2, options));
  ReferencePredictor reference(graph, random_weights(graph, 2));
  EXPECT_LT(relative_error(ours.predict_all(images), reference.logits(images)), 1e-3);
}

}  // namespace
}  // namespace offramp
