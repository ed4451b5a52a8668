#include "model/certified_hash.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/file.h"
#include "tests/model/tiny_model.h"

namespace offramp::model {
namespace {

TEST(CertifiedHash, ChangesWithEveryNumberThatDecidesAnAnswer) {
  const ModelFile model = tiny_certified_model();
  const std::string before = certified_hash(model);
  EXPECT_EQ(before.size(), 16u);
  const auto expect_changed = [&](const char* what, const std::function<void(ModelFile&)>& edit) {
    ModelFile changed = model;
    edit(changed);
    EXPECT_NE(certified_hash(changed), before) << what;
  };
  for (const auto& [name, tensor] : model.weights)
    expect_changed(name.c_str(), [&name = name](ModelFile& one) {
      one.weights.at(name).as<float>().back() += 0.001f;
    });
  expect_changed("a weight's sign",
                 [](ModelFile& one) { one.weights.at("fc.weight").as<float>()[0] *= -1; });
  expect_changed("threshold", [](ModelFile& one) { one.policy->policy.thresholds[0] = 0.89f; });
  expect_changed("no threshold", [](ModelFile& one) { one.policy->policy.thresholds[0].reset(); });
  expect_changed("temperature", [](ModelFile& one) { one.policy->policy.temperatures[1] = 1.5f; });
  expect_changed("criterion",
                 [](ModelFile& one) { one.policy->policy.criterion = policy::Criterion::margin; });
  expect_changed("ensemble",
                 [](ModelFile& one) { one.policy->policy.ensemble = policy::Ensemble::mean; });
  expect_changed("class", [](ModelFile& one) { std::swap(one.classes[0], one.classes[1]); });
  expect_changed("graph", [](ModelFile& one) { one.graph.segments[0].name += "x"; });
  expect_changed("mean", [](ModelFile& one) { one.preprocessing.mean[2] = 0.2f; });
  expect_changed("fit", [](ModelFile& one) { one.preprocessing.fit = core::Fit::squeeze; });
  expect_changed("ranges", [](ModelFile& one) {
    one.deployment = Deployment{"int8", {{"relu1", {2.5f, false}}}, {}};
  });
  ModelFile ranges = model, is_signed = model;
  ranges.deployment = is_signed.deployment = Deployment{"int8", {{"relu1", {2.5f, false}}}, {}};
  is_signed.deployment->ranges.at("relu1").is_signed = true;
  EXPECT_NE(certified_hash(ranges), certified_hash(is_signed));
}

TEST(CertifiedHash, DoesNotChangeWithWhatDecidesNone) {
  const ModelFile model = tiny_certified_model();
  ModelFile other = model;
  other.certificates = 9;
  other.policy->guarantee->counted = 1;
  other.policy->verified = {{"f32", "other", 100, 0, 0.01, 0.05}};
  other.provenance.data.tune.clear();
  EXPECT_EQ(certified_hash(other), certified_hash(model));
}

TEST(CertifiedHash, IsTheSameOfAFileAndOfTheModelInMemory) {
  ModelFile model = tiny_certified_model();
  model.weight_scales["conv1.weight"] = {0.5f, 0.25f};
  auto weights = model.weights.at("conv1.weight").as<float>();
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = (i < 9 ? 0.5f : 0.25f) * static_cast<float>(i);
  const core::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  save_model(path, model);
  const MappedModel mapped = map_model(path);
  EXPECT_EQ(certified_hash(mapped.model,
                           [&](const std::string& name) { return mapped.weights_of(name); }),
            certified_hash(model));
  EXPECT_EQ(certified_hash(load_model(path)), certified_hash(model));
}

// Files store this hash, so another program must compute the same one.
TEST(CertifiedHash, IsStable) {
  EXPECT_EQ(certified_hash(tiny_certified_model()), "8204483d50f02b9d");
}

}  // namespace
}  // namespace offramp::model
