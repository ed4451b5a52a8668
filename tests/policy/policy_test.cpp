#include "policy/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/random.h"

namespace offramp::policy {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;
using ::testing::ThrowsMessage;
using Values = std::vector<float>;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Values softmax_of(const Values& logits, float temperature = 1) {
  Values p(logits.size());
  softmax(logits, temperature, p);
  return p;
}

TEST(Softmax, GivesKnownProbabilities) {
  // e^0 : e^ln 2 : e^ln 5 = 1 : 2 : 5.
  EXPECT_THAT(softmax_of({0, std::log(2.0f), std::log(5.0f)}),
              Pointwise(FloatNear(1e-7f), {0.125f, 0.25f, 0.625f}));
  // The temperature halves the logits: 1 : 2 : 4.
  EXPECT_THAT(softmax_of({0, std::log(4.0f), std::log(16.0f)}, 2),
              Pointwise(FloatNear(1e-7f), {1 / 7.0f, 2 / 7.0f, 4 / 7.0f}));
}

TEST(Softmax, AcceptsLargeLogits) {
  EXPECT_EQ(softmax_of({3e38f, -3e38f}), (Values{1, 0}));
  EXPECT_EQ(softmax_of({3e38f, 3e38f}), (Values{0.5f, 0.5f}));
  EXPECT_EQ(softmax_of({-3e38f, -3e38f}, 1e-3f), (Values{0.5f, 0.5f}));
  EXPECT_EQ(softmax_of({0, -kInfinity}), (Values{1, 0}));
}

TEST(Softmax, WorksInPlace) {
  Values z = {1, 2, 3};
  const Values expected = softmax_of(z, 0.7f);
  softmax(z, 0.7f, z);
  EXPECT_EQ(z, expected);
}

TEST(Softmax, OfOneClassIsCertain) { EXPECT_EQ(softmax_of({-5}), Values{1}); }

TEST(Softmax, OfNaNReachesNoThreshold) {
  for (const Values& z : {Values{1, kNaN, 3}, Values{kNaN, kNaN}, Values{kInfinity, 0}}) {
    const Values p = softmax_of(z);
    for (Criterion criterion : {Criterion::confidence, Criterion::entropy, Criterion::margin})
      EXPECT_FALSE(score(criterion, p) >= 0) << to_string(criterion);
  }
}

TEST(Score, FollowsItsDefinition) {
  const Values p = {0.25f, 0.5f, 0.125f, 0.125f};
  EXPECT_EQ(score(Criterion::confidence, p), 0.5f);
  // H = 1/4 · 2 + 1/2 · 1 + 2 · 1/8 · 3 = 1.75 bits of log2 4 = 2.
  EXPECT_FLOAT_EQ(score(Criterion::entropy, p), 1 - 1.75f / 2);
  EXPECT_EQ(score(Criterion::margin, p), 0.25f);
}

TEST(Score, HasItsEndsAtUniformAndCertain) {
  const Values uniform(10, 0.1f), certain = {0, 1, 0};
  EXPECT_EQ(score(Criterion::confidence, uniform), 0.1f);
  EXPECT_NEAR(score(Criterion::entropy, uniform), 0, 1e-6);
  EXPECT_GE(score(Criterion::entropy, uniform), 0);
  EXPECT_EQ(score(Criterion::margin, uniform), 0);
  for (Criterion criterion : {Criterion::confidence, Criterion::entropy, Criterion::margin}) {
    EXPECT_EQ(score(criterion, certain), 1) << to_string(criterion);
    EXPECT_EQ(score(criterion, Values{1}), 1) << to_string(criterion);
  }
}

TEST(Score, FindsTheMarginInAnyOrder) {
  Values p = {0.5f, 0.3f, 0.15f, 0.05f};
  std::sort(p.begin(), p.end());
  do {
    ASSERT_FLOAT_EQ(score(Criterion::margin, p), 0.2f);
  } while (std::next_permutation(p.begin(), p.end()));
  EXPECT_EQ(score(Criterion::margin, Values{0.4f, 0.2f, 0.4f}), 0);
}

TEST(Score, StaysBetweenZeroAndOne) {
  for (std::uint64_t round = 0; round < 2000; ++round) {
    core::KeyedRandom random(1, round);
    Values z(1 + random.below(20));
    for (float& value : z) value = random.uniform(-30, 30);
    const Values p = softmax_of(z, random.uniform(0.1f, 5));
    for (Criterion criterion : {Criterion::confidence, Criterion::entropy, Criterion::margin}) {
      ASSERT_GE(score(criterion, p), 0) << to_string(criterion);
      ASSERT_LE(score(criterion, p), 1) << to_string(criterion);
    }
  }
}

TEST(Argmax, TakesTheFirstOfEquals) {
  EXPECT_EQ(argmax(Values{1, 3, 2, 3}), 1);
  EXPECT_EQ(argmax(Values{7}), 0);
  EXPECT_EQ(argmax(Values{-0.0f, 0.0f}), 0);
  EXPECT_EQ(argmax(Values{-kInfinity, -kInfinity}), 0);
}

TEST(Argmax, NeverReturnsTheIndexOfNaN) {
  EXPECT_EQ(argmax(Values{kNaN, 1, 2}), 2);
  EXPECT_EQ(argmax(Values{1, kNaN, 0}), 0);
  EXPECT_EQ(argmax(Values{1, kNaN, 2, kNaN}), 2);
  EXPECT_EQ(argmax(Values{kNaN, -kInfinity}), 1);
  EXPECT_EQ(argmax(Values{kNaN, kNaN}), 0);
}

// The reference: the result of every exit, computed in double directly from the definitions.
struct Definition {
  std::vector<double> p;
  int answer = 0;
};

std::vector<Definition> defined(const Policy& policy, const std::vector<Values>& logits) {
  std::vector<Definition> result;
  const std::size_t classes = logits[0].size();
  std::vector<double> sum(classes, 0.0);
  double weights = 0;
  for (std::size_t k = 0; k < logits.size(); ++k) {
    const double t = policy.temperatures[k];
    const double weight =
        policy.ensemble == Ensemble::weighted ? double{policy.ensemble_weights[k]} : 1.0;
    double total = 0;
    for (const double z : logits[k]) total += std::exp(z / t);
    weights += weight;
    if (policy.ensemble == Ensemble::off) std::ranges::fill(sum, 0.0);
    for (std::size_t c = 0; c < classes; ++c) {
      const double p = std::exp(logits[k][c] / t) / total;
      sum[c] += policy.ensemble == Ensemble::geometric ? std::log(p) : weight * p;
    }
    Definition now{sum, static_cast<int>(std::ranges::max_element(sum) - sum.begin())};
    if (policy.ensemble == Ensemble::geometric)
      for (double& p : now.p) p = std::exp(p / weights);
    double norm = 0;
    for (const double p : now.p) norm += p;
    for (double& p : now.p) p /= norm;
    result.push_back(now);
  }
  return result;
}

TEST(UpdateExitState, ComputesTheMeansOfItsEnsemble) {
  for (std::uint64_t round = 0; round < 400; ++round) {
    core::KeyedRandom random(23, round);
    const std::size_t exits = 1 + random.below(6), classes = 1 + random.below(40);
    Policy policy = never_stop(static_cast<int>(exits));
    policy.ensemble = std::array{Ensemble::off, Ensemble::mean, Ensemble::geometric,
                                 Ensemble::weighted}[round % 4];
    for (float& temperature : policy.temperatures) temperature = random.uniform(0.3f, 3);
    if (policy.ensemble == Ensemble::weighted)
      for (std::size_t k = 0; k < exits; ++k)
        policy.ensemble_weights.push_back(random.uniform(0.05f, 2));
    std::vector<Values> logits(exits, Values(classes));
    for (Values& z : logits)
      for (float& value : z) value = random.uniform(-6, 6);
    const auto expected = defined(policy, logits);
    ExitState exit_state;
    int agreeing_exits = 0;
    for (std::size_t k = 0; k < exits; ++k) {
      update_exit_state(policy, static_cast<int>(k), logits[k], exit_state);
      ASSERT_EQ(exit_state.answer, expected[k].answer);
      for (std::size_t c = 0; c < classes; ++c)
        ASSERT_NEAR(exit_state.p[c], expected[k].p[c], 1e-7 * expected[k].p[c] + 1e-14);
      agreeing_exits =
          k > 0 && expected[k].answer == expected[k - 1].answer ? agreeing_exits + 1 : 1;
      ASSERT_EQ(score(Criterion::patience, exit_state), static_cast<float>(agreeing_exits));
      for (const Criterion criterion :
           {Criterion::confidence, Criterion::entropy, Criterion::margin})
        ASSERT_EQ(score(criterion, exit_state), score(criterion, exit_state.p));
    }
  }
}

TEST(ShouldExit, StopsWhereTheScoreIsTheThreshold) {
  Policy policy = never_stop(2);
  const Values z = {1, 2, 4};
  ExitState exit_state;
  EXPECT_FALSE(should_exit(policy, 0, z, exit_state));
  const float score = exit_state.score;
  policy.thresholds[0] = score;
  EXPECT_TRUE(should_exit(policy, 0, z, exit_state));
  policy.thresholds[0] = std::nextafter(score, 2.0f);
  EXPECT_FALSE(should_exit(policy, 0, z, exit_state));
  EXPECT_TRUE(should_exit(policy, 1, z, exit_state));  // an image always stops at the last exit
}

TEST(ShouldExit, NeverStopsAtNaN) {
  const Values bad = {1, kNaN, 3}, good = {1, 2, 3};
  for (const Criterion criterion :
       {Criterion::confidence, Criterion::entropy, Criterion::margin, Criterion::patience})
    for (const Ensemble ensemble : {Ensemble::off, Ensemble::mean, Ensemble::geometric}) {
      Policy policy = never_stop(4);
      policy.criterion = criterion;
      policy.ensemble = ensemble;
      policy.thresholds.assign(3, 0.0f);
      ExitState exit_state;
      EXPECT_FALSE(should_exit(policy, 0, bad, exit_state));
      EXPECT_FALSE(should_exit(policy, 1, bad, exit_state));
      // Without an ensemble, an exit with finite logits has a score; a mean that includes NaN stays
      // NaN.
      EXPECT_EQ(should_exit(policy, 2, good, exit_state), ensemble == Ensemble::off);
      if (ensemble == Ensemble::off) {
        EXPECT_EQ(exit_state.agreeing_exits, 1);
      }
      EXPECT_TRUE(should_exit(policy, 3, bad, exit_state));
      // The state of one image does not affect the next.
      EXPECT_TRUE(should_exit(policy, 0, good, exit_state));
    }
}

TEST(Check, NamesTheInvalidField) {
  const auto refused = [](auto change) {
    Policy policy = never_stop(3);
    change(policy);
    return [policy] { check(policy, 3); };
  };
  EXPECT_NO_THROW(check(never_stop(3), 3));
  EXPECT_THAT(refused([](Policy& p) { p.thresholds.pop_back(); }),
              ThrowsMessage<Error>("thresholds: got 1, expected 2: one for each early exit"));
  EXPECT_THAT(refused([](Policy& p) { p.thresholds[1] = kNaN; }),
              ThrowsMessage<Error>("thresholds: expected finite numbers, got nan"));
  EXPECT_THAT(refused([](Policy& p) { p.temperatures[0] = 0; }),
              ThrowsMessage<Error>("temperatures: expected finite numbers above 0, got 0"));
  EXPECT_THAT(
      refused([](Policy& p) { p.ensemble = Ensemble::weighted; }),
      ThrowsMessage<Error>(
          "ensemble_weights: got 0, expected 3 if the ensemble is weighted and none otherwise; "
          "it is \"weighted\""));
  EXPECT_THAT(refused([](Policy& p) {
                p.ensemble = Ensemble::weighted;
                p.ensemble_weights = {0, 1, 1};
              }),
              ThrowsMessage<Error>("ensemble_weights: the weight of exit 1 must be above 0, "
                                   "because no other exit precedes it"));
}

TEST(Criterion, IsSpelledAsInFiles) {
  for (Criterion criterion :
       {Criterion::confidence, Criterion::entropy, Criterion::margin, Criterion::patience})
    EXPECT_EQ(criterion_from_string(to_string(criterion)), criterion);
  EXPECT_THAT(
      [] { criterion_from_string("entrophy"); },
      ThrowsMessage<UsageError>("unknown criterion \"entrophy\"; did you mean \"entropy\"?"));
  EXPECT_THAT([] { criterion_from_string("luck"); },
              ThrowsMessage<UsageError>(
                  "unknown criterion \"luck\"; known: confidence, entropy, margin, patience"));
}

}  // namespace
}  // namespace offramp::policy
