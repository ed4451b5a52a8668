#include "cli/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "runtime/kernels_name.h"
#include "tests/support/graphs.h"
#include "tests/support/random_weights.h"

namespace offramp::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

ModelFile some_model() {
  ModelFile model;
  model.graph = small_resnet();
  model.weights = random_weights(model.graph, 1);
  return model;
}

/// What is said on standard error.
template <typename Work>
std::string said(const Work& work) {
  testing::internal::CaptureStderr();
  work();
  return testing::internal::GetCapturedStderr();
}

TEST(PrecisionFor, TakesWhatWasCertifiedWhereNobodyAsks) {
  ModelFile model = some_model();
  EXPECT_EQ(precision_for(model, ""), Precision::f32);
  model.policy = ChosenPolicy{never_stop(3), HarmGuarantee{0.01}, Guarantee{}};
  model.policy->guarantee->precision = "bf16";
  for (const char* word : {"", "auto"}) EXPECT_EQ(precision_for(model, word), Precision::bf16);
  EXPECT_EQ(precision_for(model, "f32"), Precision::f32);
}

TEST(PrecisionFor, SaysEachThingOnce) {
  ModelFile narrow = some_model(), narrower = some_model();
  narrow.deployment = Deployment{"bf16", {}, {2000, 0.9, 0.9, 0.9, 0, 0}, {}};
  narrower.deployment = narrow.deployment;
  narrower.deployment->precision = "int8";
  EXPECT_THAT(said([&] { precision_for(narrow, ""); }), HasSubstr("bf16 was measured outside"));
  EXPECT_THAT(said([&] { precision_for(narrower, ""); }), HasSubstr("int8 was measured outside"));
  EXPECT_EQ(said([&] { precision_for(narrow, ""); }), "");
}

TEST(Engine, AsksAFileForItsLogitsAgainWhereTheyAreOthers) {
  if (!has_instructions_for(Precision::bf16)) GTEST_SKIP() << "no instructions for bf16";
  ModelFile model = some_model();
  model.deployment = Deployment{"bf16", {}, {2000, 1, 0.9, 0.9, 0, 0}, {}};
  EXPECT_EQ(engine_for(model, {}).precision, "bf16");
  model.deployment->check = {1, std::vector<float>(2 * 3 * 10, 12345.f)};
  EXPECT_EQ(engine_for(model, {}).precision, "f32");
  EXPECT_EQ(engine_for(model, {}).precision, "f32") << "remembered";
  model.deployment->check.logits.clear();
  EXPECT_EQ(engine_for(model, {}).precision, "bf16");
}

TEST(Engine, NamesTunedKernels) {
  EngineFlags flags;
  flags.tune = true;
  const Engine tuned = engine_for(some_model(), flags);
  EXPECT_TRUE(tuned.tuned);
  EXPECT_THAT(tuned.kernels, HasSubstr(" tuned"));
  EXPECT_FALSE(engine_for(some_model(), {}).tuned);
  EXPECT_THAT(engine_for(some_model(), {}).kernels, Not(HasSubstr("tuned")));
}

}  // namespace
}  // namespace offramp::cli
