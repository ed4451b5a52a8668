#include "runtime/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/file.h"
#include "graph/random_weights.h"
#include "tests/support/graphs.h"
#include "tests/support/runner_predictor.h"

namespace offramp::runtime {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

model::ModelFile model() {
  model::ModelFile model;
  model.graph = small_resnet();
  model.weights = graph::random_weights(model.graph, 1);
  for (std::int64_t i = 0; i < model.graph.classes; ++i)
    model.classes.push_back("class " + std::to_string(i));
  model.preprocessing.height = static_cast<int>(model.graph.input[1]);
  model.preprocessing.width = static_cast<int>(model.graph.input[2]);
  model.loss_weights = {1, 1, 1};
  model.policy = policy::ChosenPolicy{policy::never_stop(3), policy::FixedThreshold{1}};
  return model;
}

TEST(Quantize, KeepsEveryWeightWithinHalfAStep) {
  const model::ModelFile before = model();
  const model::ModelFile after =
      quantised_to_int8(before, graph::random_images(before.graph, 4, 1), 1);
  EXPECT_EQ(after.deployment->precision, "int8");
  EXPECT_FALSE(after.policy) << "chosen for other logits";
  for (const auto& [name, scales] : after.weight_scales) {
    const auto old = before.weights.at(name).to_f32(), values = after.weights.at(name).to_f32();
    const std::size_t per_channel = values.size() / scales.size();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float scale = scales[i / per_channel];
      EXPECT_NEAR(values[i], old[i], 0.5001f * scale);
      EXPECT_EQ(values[i], scale * std::nearbyint(values[i] / scale));
    }
  }
  EXPECT_TRUE(after.weight_scales.contains("conv1.weight"));
  EXPECT_EQ(after.weights.at("fc.weight").dtype, core::DType::bf16);
  EXPECT_EQ(after.weights.at("bn1.running_var"), before.weights.at("bn1.running_var"));
}

TEST(Quantize, SurvivesTheFileToTheBit) {
  const core::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors", again = folder.path() / "again";
  const model::ModelFile before = model();
  const model::ModelFile deployed =
      quantised_to_int8(before, graph::random_images(before.graph, 4, 1), 1);
  model::save_model(path, deployed);
  const model::ModelFile read = model::load_model(path);
  EXPECT_EQ(read.weights, deployed.weights);
  EXPECT_EQ(read.weight_scales, deployed.weight_scales);
  EXPECT_EQ(read.deployment, deployed.deployment);
  model::save_model(again, read);
  EXPECT_EQ(core::read_file(again), core::read_file(path));
  const model::MappedModel mapped = model::map_model(path);
  for (const auto& [name, tensor] : deployed.weights)
    EXPECT_EQ(mapped.weights_of(name), tensor.to_f32()) << name;
}

TEST(Quantize, RunsAsTheNetworkWithRoundedWeightsWould) {
  if (!has_instructions_for(Precision::int8)) GTEST_SKIP() << "no 8-bit instructions here";
  const model::ModelFile before = model();
  const auto images = graph::random_images(before.graph, 7, 3);
  const model::ModelFile deployed = quantised_to_int8(before, images, 1);
  NetworkOptions options{Precision::int8, 1, 4};
  options.ranges = deployed.deployment->ranges;
  // Rounding the weights of the file again gives the same integers, so the only difference is the
  // rounding of the linear layers to bf16.
  RunnerPredictor ours(open_network(deployed.graph, deployed.weights, options));
  RunnerPredictor original(open_network(before.graph, before.weights, options));
  const auto a = ours.predict_all(images), b = original.predict_all(images);
  float largest = 0;
  for (const float value : b) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 0x1p-7 * largest);
}

TEST(Quantize, TakesRangesThatAreKnownButNeedsAllOfThem) {
  const model::ModelFile before = model();
  const model::ModelFile observed =
      quantised_to_int8(before, graph::random_images(before.graph, 7, 3), 1);
  model::ActivationRanges ranges = observed.deployment->ranges;
  const model::ModelFile deployed = quantised_to_int8(before, ranges);
  EXPECT_EQ(deployed.deployment, observed.deployment);
  EXPECT_EQ(deployed.weights, observed.weights);
  ranges.erase(std::string(graph::kInput));
  EXPECT_THAT([&] { quantised_to_int8(before, ranges); },
              ThrowsMessage<Error>(HasSubstr("tensor \"input\" has no range")));
}

TEST(Quantize, RoundsWeightsToBf16) {
  const model::ModelFile before = model();
  const model::ModelFile after = rounded_to_bf16(before);
  EXPECT_EQ(after.deployment->precision, "bf16");
  EXPECT_TRUE(after.deployment->ranges.empty());
  EXPECT_EQ(after.weights.at("conv1.weight").dtype, core::DType::bf16);
  EXPECT_EQ(after.weights.at("bn1.weight").dtype, core::DType::f32);
  EXPECT_THAT([&] { rounded_to_bf16(after); },
              ThrowsMessage<Error>(HasSubstr("already a deployment file in bf16")));
  EXPECT_THAT([&] { quantised_to_int8(after, {}, 1); },
              ThrowsMessage<Error>(HasSubstr("already a deployment file in bf16")));
}

}  // namespace
}  // namespace offramp::runtime
