#include "engine/stored_logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/random_weights.h"
#include "runtime/compile.h"
#include "tests/support/graphs.h"

namespace offramp::engine {
namespace {

constexpr std::uint64_t kSeed = 5;

/// A deployment file in f32, which every CPU can run, with the stored logits of its network.
class StoredLogitsTest : public testing::Test {
 protected:
  StoredLogitsTest() {
    model.graph = small_resnet();
    model.weights = graph::random_weights(model.graph, 1);
    network = runtime::compile(model.graph, model.weights, {}, store);
    model.deployment.emplace();
    check().seed = kSeed;
    check().logits = logits_to_store(network, model.graph, kSeed);
  }
  model::StoredLogits& check() { return model.deployment->check; }

  model::ModelFile model;
  runtime::WeightStore store;
  std::shared_ptr<const runtime::CompiledNetwork> network;
};

TEST_F(StoredLogitsTest, KnowsItsOwnLogits) {
  EXPECT_EQ(check().logits.size(), kCheckedImages * 3u * static_cast<unsigned>(network->classes));
  EXPECT_TRUE(gives_stored_logits(network, model));
  check().logits.clear();
  EXPECT_TRUE(gives_stored_logits(network, model)) << "nothing to compare with";
  model.deployment.reset();
  EXPECT_TRUE(gives_stored_logits(network, model));
}

TEST_F(StoredLogitsTest, AllowsForRoundingAndNoMore) {
  const auto classes = static_cast<std::size_t>(network->classes);
  for (const std::size_t i : {std::size_t{0}, check().logits.size() - 1}) {
    float largest = 0;  // the largest logit of the same exit; there are 3 exits
    for (std::size_t j = 0; j < check().logits.size(); ++j)
      if (j / classes % 3 == i / classes % 3)
        largest = std::max(largest, std::abs(check().logits[j]));
    ASSERT_GT(largest, 0);
    const float own = check().logits[i];
    check().logits[i] = own + 0.015f * largest;
    EXPECT_TRUE(gives_stored_logits(network, model));
    check().logits[i] = own - 0.03f * largest;
    EXPECT_FALSE(gives_stored_logits(network, model));
    check().logits[i] = own;
  }
}

TEST_F(StoredLogitsTest, NoticesAnExitOfSmallLogitsBesideOthersOfLargeOnes) {
  for (auto& [name, tensor] : model.weights)
    if (name.starts_with("exits.1."))
      for (float& weight : tensor.as<float>()) weight *= 1e-3f;
  runtime::WeightStore fresh;
  network = runtime::compile(model.graph, model.weights, {}, fresh);
  check().logits = logits_to_store(network, model.graph, kSeed);
  EXPECT_TRUE(gives_stored_logits(network, model));
  const auto classes = static_cast<std::size_t>(network->classes);
  for (std::size_t i = 0; i < classes; ++i) check().logits[i] *= -1;  // exit 1 of the first image
  EXPECT_FALSE(gives_stored_logits(network, model));
}

TEST_F(StoredLogitsTest, NoticesOtherWeightsAndAnotherNetwork) {
  const auto other =
      runtime::compile(model.graph, graph::random_weights(model.graph, 2), {}, store);
  EXPECT_FALSE(gives_stored_logits(other, model));
  auto weights = model.weights;
  weights.at("fc.bias").as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  runtime::WeightStore fresh;
  EXPECT_FALSE(gives_stored_logits(runtime::compile(model.graph, weights, {}, fresh), model));
  check().logits.pop_back();
  EXPECT_FALSE(gives_stored_logits(network, model));
}

}  // namespace
}  // namespace offramp::engine
