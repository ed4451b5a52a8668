// Tests of the parts of a training step: schedule, loss, weight updates, batches on a device.

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "graph/network_spec.h"
#include "tests/support/graphs.h"
#include "train/batches.h"
#include "train/loss.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace offramp::train {
namespace {

using torch::Tensor;

TEST(Schedule, OneCycleRisesLinearlyAndFallsAsACosine) {
  recipe::TrainRecipe recipe;
  recipe.epochs = 10;
  recipe.lr = 0.4;
  recipe.warmup = 0.2;  // 20 of 100 steps
  EXPECT_NEAR(learning_rate(recipe, 0, 10), 0.4 / 21, 1e-12);
  EXPECT_NEAR(learning_rate(recipe, 19, 10), 0.4 * 20 / 21, 1e-12);
  EXPECT_NEAR(learning_rate(recipe, 20, 10), 0.4, 1e-12);
  EXPECT_NEAR(learning_rate(recipe, 60, 10), 0.2, 1e-12);  // half of the peak rate of 0.4
  EXPECT_LT(learning_rate(recipe, 99, 10), 0.001);
}

TEST(Schedule, StepHalvesEveryTwentyFiveEpochs) {
  recipe::TrainRecipe recipe;
  recipe.epochs = 75;
  recipe.schedule = recipe::Schedule::step;
  recipe.lr = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 25 * 8 - 1, 8), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 25 * 8, 8), 0.05);
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 50 * 8, 8), 0.025);
}

TEST(Schedule, MixedTrainingHasACycleForEachPhase) {
  recipe::TrainRecipe recipe;
  recipe.epochs = 10;
  recipe.mode = recipe::Mode::mixed;
  recipe.backbone_epochs = 4;
  recipe.warmup = 0;
  EXPECT_TRUE(is_backbone_phase(recipe, 39, 10));
  EXPECT_FALSE(is_backbone_phase(recipe, 40, 10));
  EXPECT_LT(learning_rate(recipe, 39, 10), 0.001);
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 40, 10), recipe.lr);
  EXPECT_NEAR(learning_rate(recipe, 70, 10), recipe.lr / 2, 1e-12);
}

TEST(Schedule, ImagesGrowToTheirFullSize) {
  recipe::TrainRecipe recipe;
  recipe.epochs = 20;
  recipe.first_scale = 0.5;
  recipe.full_scale_at = 0.5;  // 10 epochs of growing
  EXPECT_EQ(training_image_size(recipe, {32, 48}, 0), (ImageSize{16, 24}));
  EXPECT_EQ(training_image_size(recipe, {32, 48}, 5), (ImageSize{24, 36}));
  EXPECT_EQ(training_image_size(recipe, {32, 48}, 10), (ImageSize{32, 48}));
  EXPECT_EQ(training_image_size(recipe, {33, 33}, 9),
            (ImageSize{32, 32}));  // 31.35, rounded to a multiple of 4
  recipe.first_scale = 1;
  EXPECT_EQ(training_image_size(recipe, {33, 47}, 0), (ImageSize{33, 47}));
}

TEST(Loss, WeighsTheCrossEntropiesOfTheExits) {
  // Logits (ln 3, 0): p = 3/4, 1/4. Label 0: -ln 3/4; label 1: -ln 1/4.
  const Tensor a = torch::tensor({{std::log(3.f), 0.f}}).set_requires_grad(true);
  const Tensor b = torch::tensor({{0.f, std::log(3.f)}}).set_requires_grad(true);
  const double loss =
      exit_loss({a, b}, torch::tensor({0}, torch::kLong), {0.3, 0.7}, {}).item<double>();
  EXPECT_NEAR(loss, -0.3 * std::log(0.75) - 0.7 * std::log(0.25), 1e-6);
}

TEST(Loss, DistilsTheLastExitIntoTheEarlierOnesAndNotBack) {
  recipe::TrainRecipe recipe;
  recipe.distill = 0.5;
  recipe.distill_temperature = 2;
  const Tensor early = torch::tensor({{0.f, 0.f}}).set_requires_grad(true);
  const Tensor last =
      torch::tensor({{2 * std::log(3.f), 0.f}}).set_requires_grad(true);  // teacher: 3/4, 1/4
  const Tensor loss = exit_loss({early, last}, torch::tensor({0}, torch::kLong), {1, 0}, recipe);
  const double kl = 0.75 * std::log(0.75 / 0.5) + 0.25 * std::log(0.25 / 0.5);
  EXPECT_NEAR(loss.item<double>(), 0.5 * std::log(2.0) + 0.5 * 4 * kl, 1e-6);
  loss.backward();
  EXPECT_EQ(last.grad().abs().max().item<double>(), 0);
  EXPECT_GT(early.grad().abs().max().item<double>(), 0);
}

TEST(Loss, LeavesOutExitsThatWereNotRun) {
  const Tensor last = torch::zeros({1, 2}).set_requires_grad(true);
  const double loss =
      exit_loss({Tensor(), last}, torch::tensor({0}, torch::kLong), {0.3, 0.7}, {}).item<double>();
  EXPECT_NEAR(loss, 0.7 * std::log(2.0), 1e-6);
}

// Compares WeightUpdater with LibTorch's optimisers over several steps with the same gradients.
void compare_with_torch(const recipe::TrainRecipe& recipe, torch::optim::Optimizer& theirs,
                        std::vector<Tensor> params, TorchNetwork& network) {
  WeightUpdater updater(network, recipe);
  for (int step = 0; step < 4; ++step) {
    std::size_t i = 0;
    for (const graph::Parameter& p : network.parameters()) {
      if (!p.trained()) continue;
      const Tensor gradient = torch::randn(params[i].sizes());
      params[i].mutable_grad() = gradient.clone();
      Tensor ours = network.tensors().at(p.name);
      ours.mutable_grad() = gradient.clone();
      ++i;
    }
    theirs.step();
    updater.step(0.05);
  }
  std::size_t i = 0;
  for (const graph::Parameter& p : network.parameters())
    if (p.trained()) {
      EXPECT_LT((network.tensors().at(p.name) - params[i]).abs().max().item<double>(), 5e-6)
          << p.name;
      ++i;
    }
}

struct SplitParameters {
  std::vector<Tensor> all, decayed, free;
};
SplitParameters copies_of(const TorchNetwork& network) {
  SplitParameters result;
  for (const graph::Parameter& p : network.parameters()) {
    if (!p.trained()) continue;
    const Tensor copy = network.tensors().at(p.name).detach().clone().set_requires_grad(true);
    result.all.push_back(copy);
    const bool weight = p.role == graph::ParameterRole::conv_weight ||
                        p.role == graph::ParameterRole::linear_weight;
    (weight ? result.decayed : result.free).push_back(copy);
  }
  return result;
}

TEST(WeightUpdater, StepsAsTorchsNesterovSgdWithDecayOnWeightsOnly) {
  for (const bool nesterov : {true, false}) {
    torch::manual_seed(2);
    TorchNetwork network(small_resnet(), torch::kCPU, 3);
    recipe::TrainRecipe recipe;
    recipe.nesterov = nesterov;
    recipe.weight_decay = 0.01;
    const auto params = copies_of(network);
    auto options = torch::optim::SGDOptions(0.05).momentum(0.9).nesterov(nesterov);
    torch::optim::SGD theirs(
        {torch::optim::OptimizerParamGroup(
             params.decayed, std::make_unique<torch::optim::SGDOptions>(
                                 torch::optim::SGDOptions(options).weight_decay(0.01))),
         torch::optim::OptimizerParamGroup(params.free,
                                           std::make_unique<torch::optim::SGDOptions>(options))},
        options);
    compare_with_torch(recipe, theirs, params.all, network);
  }
}

TEST(WeightUpdater, StepsAsTorchsAdamW) {
  torch::manual_seed(2);
  TorchNetwork network(small_resnet(), torch::kCPU, 3);
  recipe::TrainRecipe recipe;
  recipe.optimizer = recipe::Optimizer::adamw;
  recipe.weight_decay = 0.01;
  const auto params = copies_of(network);
  torch::optim::AdamWOptions decayed(0.05), free(0.05);
  decayed.weight_decay(0.01);
  free.weight_decay(0);
  torch::optim::AdamW theirs(
      {torch::optim::OptimizerParamGroup(params.decayed,
                                         std::make_unique<torch::optim::AdamWOptions>(decayed)),
       torch::optim::OptimizerParamGroup(params.free,
                                         std::make_unique<torch::optim::AdamWOptions>(free))},
      free);
  compare_with_torch(recipe, theirs, params.all, network);
}

TEST(WeightAverage, FollowsTheWeightsAndSwapsBack) {
  torch::NoGradGuard no_grad;
  TorchNetwork network(small_resnet(), torch::kCPU, 3);
  WeightAverage average(network, 0.9);
  Tensor bias = network.tensors().at("fc.bias");
  const Tensor before = bias.clone();
  bias.add_(1);
  average.update(network);  // decay min(0.9, 2/11)
  average.swap(network);
  EXPECT_TRUE(torch::allclose(network.tensors().at("fc.bias"), before + (1 - 2.0 / 11)));
  average.swap(network);
  EXPECT_TRUE(torch::equal(network.tensors().at("fc.bias"), before + 1));
}

TEST(Learning, EveryExampleNetworkLearnsAFixedBatch) {
  for (const graph::Graph& graph : example_graphs()) {
    for (const auto precision : {torch::kFloat, torch::kBFloat16}) {
      torch::manual_seed(1);
      TorchNetwork network(graph, torch::kCPU, 3);
      recipe::TrainRecipe recipe;
      recipe.weight_decay = 0;
      WeightUpdater updater(network, recipe);
      TorchNetwork::Mode mode;
      mode.training = true;
      mode.precision = precision;
      const Tensor images = torch::randn({16, graph.input[0], graph.input[1], graph.input[2]});
      const Tensor labels = torch::randint(graph.classes, {16}, torch::kLong);
      const std::vector<double> weights(graph::exit_segments(graph).size(), 0.3);
      double first = 0, last = 0;
      for (int step = 0; step < 40; ++step) {
        const Tensor loss = exit_loss(network.forward(images, mode), labels, weights, recipe);
        last = loss.item<double>();
        if (step == 0) first = last;
        loss.backward();
        updater.step(0.01);
      }
      EXPECT_LT(last, 0.6 * first) << graph.name << " " << precision;
    }
  }
}

data::Dataset noise_images(int height, int width, std::int64_t count) {
  data::Dataset data;
  data.height = height;
  data.width = width;
  data.classes = {"a", "b"};
  core::KeyedRandom random(1, 2);
  for (std::int64_t i = 0; i < count * height * width * 3; ++i)
    data.pixels.push_back(static_cast<std::uint8_t>(random.below(256)));
  for (std::int64_t i = 0; i < count; ++i) data.labels.push_back(i % 2);
  return data;
}

TEST(Batches, TheDeviceMakesWhatTheLoaderMakes) {
  const data::Dataset data = noise_images(24, 20, 40);
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 3; i < 40; ++i) indices.push_back(i);
  std::vector<data::Augmentation> settings(4);
  settings[1].crop_padding = 4;
  settings[1].flip = true;
  settings[2].crop_padding = 2;
  settings[2].cutout = 7;
  settings[3].resized_crop = 0.3f;
  settings[3].flip = true;
  for (std::size_t s = 0; s < settings.size(); ++s) {
    data::BatchLoaderOptions options;
    options.batch = 8;
    options.augmentation = settings[s];
    options.preprocessing.height = 24;
    options.preprocessing.width = 20;
    auto loader = make_loader_batches(data, indices, options, 2);
    auto device = make_device_batches(data, indices, options, 2, torch::kCPU);
    ASSERT_EQ(loader->steps_per_epoch(), device->steps_per_epoch());
    for (int step = 0; step < 6; ++step) {  // ends in the second epoch
      const TensorBatch a = loader->next(), b = device->next();
      EXPECT_TRUE(torch::equal(a.labels, b.labels));
      EXPECT_LT((a.images - b.images).abs().max().item<double>(), 2e-5)
          << "setting " << s << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace offramp::train
