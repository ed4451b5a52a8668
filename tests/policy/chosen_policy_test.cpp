#include "policy/chosen_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"

namespace offramp::policy {
namespace {

using testing::ThrowsMessage;

/// Returns a certified policy of three exits: the second of three steps passed, the third failed.
ChosenPolicy certified() {
  ChosenPolicy chosen;
  chosen.policy = never_stop(3);
  chosen.policy.thresholds = {0.9f, std::nullopt};
  chosen.aim = HarmGuarantee{0.01};
  chosen.guarantee = Guarantee{"harm", 0.01, 0.05, 0.045, 4000, 29, 0.0097, "f32", "kernels"};
  chosen.seen = TuneExitShares{2000, {0.5, 0.25, 0.25}};
  chosen.path = CertifiedPath{{{Thresholds(2), 0, 0.9, 1},
                               {{0.9f, std::nullopt}, 29, 0.9, 0.75},
                               {{0.9f, 0.8f}, 45, 0.89, 0.7}},
                              1};
  return chosen;
}

void expect_refused(const std::function<void(ChosenPolicy&)>& edit, const std::string& message) {
  ChosenPolicy chosen = certified();
  edit(chosen);
  EXPECT_THAT([&] { check(chosen, 3); }, ThrowsMessage<Error>(message));
}

TEST(ChosenPolicy, RefusesAPathThatIsNotItsOwn) {
  check(certified(), 3);
  expect_refused([](ChosenPolicy& c) { c.guarantee.reset(); },
                 "path: a path needs a guarantee, and there is none");
  expect_refused([](ChosenPolicy& c) { c.path->steps.clear(); },
                 "path.chosen: got 1, expected the last or the last but one of 0 steps");
  expect_refused([](ChosenPolicy& c) { c.path->chosen = 0; },
                 "path.chosen: got 0, expected the last or the last but one of 3 steps");
  expect_refused([](ChosenPolicy& c) { c.path->chosen = 2; },
                 "path.steps[2].thresholds: the chosen step and the policy differ");
  expect_refused([](ChosenPolicy& c) { c.path->steps[0].thresholds.pop_back(); },
                 "path.steps[0].thresholds: got 1, expected 2: one for each early exit");
  // On a path of certified steps, no step may have a higher threshold than the one before it.
  expect_refused([](ChosenPolicy& c) { c.path->steps[2].thresholds[0] = 0.95f; },
                 "path.steps[2].thresholds: a threshold is higher than in the step before");
  expect_refused([](ChosenPolicy& c) { c.path->steps[2].thresholds[0].reset(); },
                 "path.steps[2].thresholds: a threshold is higher than in the step before");
  expect_refused([](ChosenPolicy& c) { c.path->steps[2].counted = 4001; },
                 "path.steps[2].counted: got 4001, but there are only 4000 images");
  expect_refused([](ChosenPolicy& c) { c.path->steps[1].counted = 28; },
                 "path.steps[1].counted: got 28, but the guarantee has 29");
}

TEST(ChosenPolicy, RefusesDisagreementsThatDoNotFit) {
  const auto with_bound = [](ChosenPolicy& c) {
    c.guarantee->disagreement = DisagreementBound{1e-5, 60, 0.03};
    for (PathStep& step : c.path->steps) step.disagreed = 60;
  };
  ChosenPolicy good = certified();
  with_bound(good);
  check(good, 3);
  EXPECT_EQ(disagreement_bounds(good).size(), 2u);
  EXPECT_TRUE(disagreement_bounds(certified()).empty());
  expect_refused([](ChosenPolicy& c) { c.path->steps[1].disagreed = 3; },
                 "path.steps[1].disagreed: expected a value if and only if the guarantee has a "
                 "bound on disagreement");
  expect_refused(
      [&](ChosenPolicy& c) {
        with_bound(c);
        c.path->steps[0].disagreed.reset();
      },
      "path.steps[0].disagreed: expected a value if and only if the guarantee has a bound on "
      "disagreement");
  expect_refused(
      [&](ChosenPolicy& c) {
        with_bound(c);
        c.path->steps[2].disagreed = 4001;
      },
      "path.steps[2].disagreed: got 4001, but there are only 4000 images");
  expect_refused(
      [&](ChosenPolicy& c) {
        with_bound(c);
        c.path->steps[1].disagreed = 59;
      },
      "path.steps[1].disagreed: got 59, but the guarantee has 60");
}

TEST(ChosenPolicy, RefusesInvalidShares) {
  expect_refused([](ChosenPolicy& c) { c.seen->shares.pop_back(); },
                 "seen.shares: got 2, expected 3: one for each exit");
  expect_refused([](ChosenPolicy& c) { c.seen->shares[0] = 1; },
                 "seen.shares: the sum is 1.5, expected 1");
}

TEST(ChosenPolicy, IsDescribedForPeople) {
  EXPECT_EQ(describe(certified().policy), "stop where confidence ≥ 0.9, never");
  Policy shared = never_stop(3);
  shared.criterion = Criterion::margin;
  shared.thresholds = {0.5f, 0.5f};
  shared.ensemble = Ensemble::geometric;
  EXPECT_EQ(describe(shared), "stop where margin ≥ 0.5, geometric mean of the exits so far");
  EXPECT_EQ(describe(never_stop(1)), "every image goes to the last exit");
  EXPECT_EQ(describe(never_stop(3)), "every image goes to the last exit");
  Guarantee guarantee = *certified().guarantee;
  EXPECT_EQ(describe(guarantee), "harm ≤ 0.01 with probability ≥ 0.95");
  guarantee.disagreement = DisagreementBound{1e-5, 60, 0.0312};
  EXPECT_EQ(describe(guarantee),
            "harm ≤ 0.01 and answers other than the last exit's ≤ 0.0312 with probability ≥ 0.95");
}

}  // namespace
}  // namespace offramp::policy
