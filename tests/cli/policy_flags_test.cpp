#include "cli/policy_flags.h"

#include <gtest/gtest.h>

#include "tests/support/graphs.h"

namespace offramp::cli {
namespace {

const Engine kEngine{"f32", "some kernels"};

ModelFile certified_model() {
  ModelFile model;
  model.graph = small_resnet();
  ChosenPolicy chosen{never_stop(3), HarmGuarantee{0.01}, Guarantee{}};
  chosen.policy.thresholds = {0.9f, 0.8f};
  chosen.guarantee->precision = kEngine.precision;
  chosen.guarantee->kernels = kEngine.kernels;
  model.policy = chosen;
  return model;
}

TEST(PolicyOf, KeepsACertificateForItsPrecisionAndKernelsAlone) {
  const ModelFile model = certified_model();
  EXPECT_EQ(policy_of({}, model, kEngine), model.policy);

  ChosenPolicy bare = *model.policy;
  bare.guarantee.reset();
  EXPECT_EQ(policy_of({}, model, {"bf16", kEngine.kernels}), bare);
  EXPECT_EQ(policy_of({}, model, {kEngine.precision, "other kernels"}), bare);
  const Engine tuned{kEngine.precision, kEngine.kernels, true};
  EXPECT_EQ(policy_of({}, model, tuned), bare) << "even if a file names what was tuned";
}

TEST(PolicyOf, TakesTheFlagsBeforeTheModelsOwn) {
  const ModelFile model = certified_model();
  PolicyFlags flags;
  flags.threshold = 0.5;
  flags.criterion = "margin";
  const auto chosen = policy_of(flags, model, kEngine);
  EXPECT_EQ(chosen->policy.criterion, Criterion::margin);
  EXPECT_EQ(chosen->policy.thresholds, (Thresholds{0.5f, 0.5f}));
  EXPECT_FALSE(chosen->guarantee);
  EXPECT_EQ(describe(chosen->policy), "margin ≥ 0.5");

  PolicyFlags none;
  none.no_policy = true;
  EXPECT_EQ(policy_of(none, model, kEngine), std::nullopt);
}

}  // namespace
}  // namespace offramp::cli
