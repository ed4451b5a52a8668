#include "workflow/policy_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "graph/random_weights.h"
#include "runtime/kernels_name.h"
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
  chosen.seen = policy::TuneExitShares{2000, {0.5, 0.25, 0.25}};
  chosen.path = policy::CertifiedPath{{{{0.9f, 0.8f}, 0, 1, 0.5}}, 0};
  model.policy = chosen;
  return model;
}

TEST(PolicyChoice, IsTheModelsOwnByDefault) {
  const model::ModelFile model = certified_model();
  EXPECT_EQ(policy_for({}, model), model.policy);
}

TEST(PolicyChoice, CertifiesNothingButTheModelsOwn) {
  model::ModelFile file = certified_model();
  file.weights = graph::random_weights(file.graph, 1);
  file.policy->guarantee->precision = "f32";
  file.policy->guarantee->kernels = runtime::kernels_name();
  const auto opened = engine::OpenedModel::open(file, {.threads = 1});
  const std::vector<double> other = {0, 0, 1};
  const auto verdict = [&](const PolicyChoice& choice, std::span<const double> shares,
                           std::int64_t images) {
    return certificate_of_run(choice, *opened, drift_of(*file.policy, shares, images), images);
  };
  const std::vector<double>& same = file.policy->seen->shares;
  EXPECT_EQ(verdict({}, same, 500).in_force, InForce::yes);
  EXPECT_EQ(verdict({}, same, 5).in_force, InForce::unknown);
  EXPECT_EQ(verdict({}, other, 500).in_force, InForce::no);
  EXPECT_THAT(verdict({}, other, 500).why, testing::HasSubstr("the images have changed"));
  for (const PolicyChoice& choice : {PolicyChoice{0.5}, PolicyChoice{.no_policy = true}}) {
    EXPECT_EQ(verdict(choice, same, 500).in_force, InForce::no);
    EXPECT_THAT(verdict(choice, same, 500).why, testing::HasSubstr("not the model's own"));
  }
}

TEST(PolicyChoice, TakesAThresholdBeforeTheModelsOwn) {
  const auto chosen = policy_for({0.5, policy::Criterion::margin}, certified_model());
  EXPECT_EQ(chosen->policy.criterion, policy::Criterion::margin);
  EXPECT_EQ(chosen->policy.thresholds, (policy::Thresholds{0.5f, 0.5f}));
  EXPECT_FALSE(chosen->guarantee);
  EXPECT_EQ(describe(chosen->policy), "stop where margin ≥ 0.5");
  EXPECT_EQ(policy_for({.no_policy = true}, certified_model()), std::nullopt);
}

TEST(PolicyChoice, IsRefusedByFieldIfInvalid) {
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

TEST(PolicyChoice, ComparesSharesOfExitsWithThoseOfTheTuneImages) {
  const policy::ChosenPolicy chosen = *certified_model().policy;
  EXPECT_EQ(drift_of(chosen, chosen.seen->shares, 500)->distance, 0);
  policy::ChosenPolicy unknown = chosen;
  unknown.seen.reset();
  EXPECT_EQ(drift_of(unknown, chosen.seen->shares, 500), std::nullopt);
}

}  // namespace
}  // namespace offramp::workflow
