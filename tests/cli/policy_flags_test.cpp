#include "cli/policy_flags.h"

#include <gtest/gtest.h>

#include "tests/support/graphs.h"

namespace offramp::cli {
namespace {

Model certified_model() {
  Model model;
  model.graph = small_resnet();
  const EngineFlags engine;
  ChosenPolicy chosen{never_stop(3), "--guarantee 0.01", Guarantee{}};
  chosen.policy.thresholds = {0.9f, 0.8f};
  chosen.guarantee->precision = engine.precision;
  chosen.guarantee->kernels = engine_name(engine);
  model.policy = chosen;
  return model;
}

TEST(PolicyOf, KeepsACertificateForItsPrecisionAndKernelsAlone) {
  Model model = certified_model();
  EngineFlags engine;
  EXPECT_EQ(policy_of({}, model, engine), model.policy);

  engine.precision = "bf16";
  ChosenPolicy bare = *model.policy;
  bare.guarantee.reset();
  EXPECT_EQ(policy_of({}, model, engine), bare);

  model.policy->guarantee->kernels = "another engine";
  EXPECT_EQ(policy_of({}, model, EngineFlags()), bare);
}

TEST(PolicyOf, TakesTheFlagsBeforeTheModelsOwn) {
  const Model model = certified_model();
  PolicyFlags flags;
  flags.threshold = 0.5;
  flags.criterion = "margin";
  const auto chosen = policy_of(flags, model, {});
  EXPECT_EQ(chosen->policy.criterion, Criterion::margin);
  EXPECT_EQ(chosen->policy.thresholds, (Thresholds{0.5f, 0.5f}));
  EXPECT_FALSE(chosen->guarantee);
  EXPECT_EQ(describe(chosen->policy), "margin ≥ 0.5");

  PolicyFlags none;
  none.no_policy = true;
  EXPECT_EQ(policy_of(none, model, {}), std::nullopt);
}

}  // namespace
}  // namespace offramp::cli
