#include "train/trainer.h"

#include <gtest/gtest.h>

#include <numeric>

#include "data/synthetic.h"
#include "train/run.h"

namespace offramp::train {
namespace {

/// Trains a small network on synthetic images.
class Steps : public testing::Test {
 protected:
  Steps() {
    recipe.network.options.width = 4;
    recipe.network.exits = {"2"};
    recipe.train.batch = 32;
    recipe.train.lr = 0.05;
    recipe.train.weight_decay = 0;
    recipe.train.precision = recipe::PrecisionChoice::f32;
  }

  /// Returns the trained weights after `steps` steps.
  core::Tensors weights_after(int steps, GradientExchange* exchange) {
    const graph::Graph graph = graph_for(recipe, 32, 32, 4);
    TorchNetwork network(graph, torch::kCPU, 7);
    data::BatchLoaderOptions options;
    options.batch = recipe.train.batch;
    options.preprocessing.height = options.preprocessing.width = 32;
    std::vector<std::int64_t> indices(static_cast<std::size_t>(data.size()));
    std::iota(indices.begin(), indices.end(), 0);
    const auto batches = make_loader_batches(data, indices, options, 0);
    Trainer trainer(std::move(network), {0.5, 0.5}, recipe.train, batches->steps_per_epoch(),
                    exchange);
    for (int i = 0; i < steps; ++i) trainer.step(*batches);
    EXPECT_EQ(trainer.state().step, steps);
    core::Tensors weights = trainer.weights();
    for (const graph::Parameter& p : parameters(graph))
      if (!p.trained()) weights.erase(p.name);
    return weights;
  }

  recipe::Recipe recipe;
  const data::Dataset data = data::synthetic_data(32, 32, 96, data::Part::train, 1, 4);
};

TEST_F(Steps, AnExchangeThatAveragesWithACopyChangesNoBit) {
  struct WithACopy : GradientExchange {
    int calls = 0;
    std::size_t tensors = 0;
    void exchange(std::span<const torch::Tensor> gradients) override {
      ++calls;
      tensors = gradients.size();
      for (torch::Tensor gradient : gradients) gradient.add_(gradient.clone()).div_(2);
    }
  } exchange;
  const core::Tensors with = weights_after(5, &exchange);
  EXPECT_EQ(with, weights_after(5, nullptr));
  EXPECT_EQ(exchange.calls, 5) << "once a step";
  EXPECT_EQ(exchange.tensors, with.size()) << "the gradients of all that is trained";
}

TEST_F(Steps, AnExchangeThatZeroesTheGradientsLeavesTheWeights) {
  struct Zeroes : GradientExchange {
    void exchange(std::span<const torch::Tensor> gradients) override {
      for (torch::Tensor gradient : gradients) gradient.zero_();
    }
  } exchange;
  const core::Tensors before = weights_after(0, nullptr);
  for (const recipe::Optimizer optimizer : {recipe::Optimizer::sgd, recipe::Optimizer::adamw}) {
    recipe.train.optimizer = optimizer;
    EXPECT_EQ(weights_after(3, &exchange), before);
    EXPECT_NE(weights_after(3, nullptr), before);
  }
}

}  // namespace
}  // namespace offramp::train
