#include "policy/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/random.h"

namespace offramp {
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
  // Halved by the temperature: 1 : 2 : 4.
  EXPECT_THAT(softmax_of({0, std::log(4.0f), std::log(16.0f)}, 2),
              Pointwise(FloatNear(1e-7f), {1 / 7.0f, 2 / 7.0f, 4 / 7.0f}));
}

TEST(Softmax, StandsLargeLogits) {
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

TEST(Softmax, OfNaNIsNeverSure) {
  for (const Values& z : {Values{1, kNaN, 3}, Values{kNaN, kNaN}, Values{kInfinity, 0}}) {
    const Values p = softmax_of(z);
    for (Criterion criterion : {Criterion::confidence, Criterion::entropy, Criterion::margin})
      EXPECT_FALSE(score(criterion, p) >= 0) << to_string(criterion);
  }
}

TEST(Score, IsWhatItsNameSays) {
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

TEST(Score, FindsTheMarginWhereverItLies) {
  Values p = {0.5f, 0.3f, 0.15f, 0.05f};
  std::sort(p.begin(), p.end());
  do {
    ASSERT_FLOAT_EQ(score(Criterion::margin, p), 0.2f);
  } while (std::next_permutation(p.begin(), p.end()));
  EXPECT_EQ(score(Criterion::margin, Values{0.4f, 0.2f, 0.4f}), 0);
}

TEST(Score, StaysBetweenZeroAndOne) {
  for (std::uint64_t round = 0; round < 2000; ++round) {
    KeyedRandom random(1, round);
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

TEST(Argmax, NeverLetsNaNWin) {
  EXPECT_EQ(argmax(Values{kNaN, 1, 2}), 2);
  EXPECT_EQ(argmax(Values{1, kNaN, 0}), 0);
  EXPECT_EQ(argmax(Values{1, kNaN, 2, kNaN}), 2);
  EXPECT_EQ(argmax(Values{kNaN, -kInfinity}), 1);
  EXPECT_EQ(argmax(Values{kNaN, kNaN}), 0);
}

TEST(Criterion, IsSpelledAsInFiles) {
  for (Criterion criterion : {Criterion::confidence, Criterion::entropy, Criterion::margin})
    EXPECT_EQ(criterion_from_string(to_string(criterion)), criterion);
  EXPECT_THAT(
      [] { criterion_from_string("entrophy"); },
      ThrowsMessage<UsageError>("unknown criterion \"entrophy\"; did you mean \"entropy\"?"));
  EXPECT_THAT(
      [] { criterion_from_string("luck"); },
      ThrowsMessage<UsageError>("unknown criterion \"luck\"; known: confidence, entropy, margin"));
}

}  // namespace
}  // namespace offramp
