#include "workflow/policy_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/graphs.h"

namespace offramp::workflow {
namespace {

using testing::ThrowsMessage;

model::ModelFile certified_model() {
  model::ModelFile model;
  model.graph = small_resnet();
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(3);
  chosen.policy.thresholds = {0.9f, 0.8f};
  chosen.aim = policy::HarmGuarantee{0.01};
  chosen.guarantee = policy::Guarantee{};
  chosen.seen = policy::TuneExitShares{100, {0.5, 0.25, 0.25}};
  chosen.path = policy::CertifiedPath{{{{0.9f, 0.8f}, 0, 1, 0.5}}, 0};
  model.policy = chosen;
  return model;
}

TEST(PolicyChoice, KeepsACertificateOnlyWhereItHolds) {
  const model::ModelFile model = certified_model();
  EXPECT_EQ(policy_for({}, model, true), model.policy);
  policy::ChosenPolicy bare = *model.policy;
  bare.guarantee.reset();
  bare.path.reset();
  EXPECT_EQ(policy_for({}, model, false), bare);
}

TEST(PolicyChoice, TakesAThresholdBeforeTheModelsOwn) {
  const auto chosen = policy_for({0.5, policy::Criterion::margin}, certified_model(), true);
  EXPECT_EQ(chosen->policy.criterion, policy::Criterion::margin);
  EXPECT_EQ(chosen->policy.thresholds, (policy::Thresholds{0.5f, 0.5f}));
  EXPECT_FALSE(chosen->guarantee);
  EXPECT_EQ(describe(chosen->policy), "margin ≥ 0.5");
  EXPECT_EQ(policy_for({.no_policy = true}, certified_model(), true), std::nullopt);
}

TEST(PolicyChoice, IsRefusedByFieldWhereItMakesNoSense) {
  EXPECT_THAT(
      [] {
        check({2, policy::Criterion::confidence});
      },
      ThrowsMessage<UsageError>("threshold: expected a score from 0 to 1, got 2"));
  EXPECT_THAT(
      [] {
        check({0.5, policy::Criterion::confidence, true});
      },
      ThrowsMessage<UsageError>("no_policy: cannot be combined with a threshold"));
}

TEST(PolicyChoice, ComparesWhereImagesLeaveWithTheTuneImages) {
  const policy::ChosenPolicy chosen = *certified_model().policy;
  EXPECT_EQ(drift_of(chosen, chosen.seen->shares, 500)->distance, 0);
  policy::ChosenPolicy unknown = chosen;
  unknown.seen.reset();
  EXPECT_EQ(drift_of(unknown, chosen.seen->shares, 500), std::nullopt);
}

}  // namespace
}  // namespace offramp::workflow
