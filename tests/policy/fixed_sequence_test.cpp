#include "policy/fixed_sequence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/random.h"
#include "policy/binomial.h"

namespace offramp::policy {
namespace {

using Counts = std::vector<std::int64_t>;

TEST(ImagesNeeded, IsTheFirstThatCertifiesAFaultlessPolicy) {
  // 0.99^298 = 0.05003…, 0.99^299 = 0.0495…
  EXPECT_EQ(images_needed(0.01, 0.05), 299);
  EXPECT_EQ(images_needed(0.5, 0.25), 2);  // exactly: 0.5^2 = 0.25
  EXPECT_EQ(images_needed(0.5, 0.5), 1);
  EXPECT_EQ(images_needed(0.5, 0.125), 3);
  EXPECT_EQ(images_needed(0.9, 0.5), 1);
  for (const double epsilon : {1e-6, 0.001, 0.02, 0.3, 0.999})
    for (const double delta : {1e-12, 0.001, 0.05, 0.5, 0.99}) {
      const std::int64_t n = images_needed(epsilon, delta);
      EXPECT_TRUE(last_certified(Counts{0}, n, epsilon, delta));
      if (n > 1) {
        EXPECT_FALSE(last_certified(Counts{0}, n - 1, epsilon, delta));
      }
    }
}

TEST(ImagesNeeded, IsBoundedForRatesThatNoDataCanShow) {
  EXPECT_EQ(images_needed(1e-9, 0.05), 2995732273);
  EXPECT_NEAR(static_cast<double>(images_needed(1e-18, 0.05)), 2.995732273553991e18, 1e9);
  EXPECT_EQ(images_needed(1e-19, 0.05), 9'000'000'000'000'000'000);
  EXPECT_EQ(images_needed(1e-300, 1e-200), 9'000'000'000'000'000'000);
  EXPECT_EQ(images_needed(std::nextafter(1.0, 0.0), std::nextafter(1.0, 0.0)), 1);
}

TEST(Certify, TakesTheLastPolicyBeforeTheFirstFailure) {
  // n = 1000, ε = 1 %, δ = 5 %: P(X ≤ 4) = 0.0287…, P(X ≤ 5) = 0.0661….
  const auto result = last_certified(Counts{0, 2, 4, 5, 1}, 1000, 0.01, 0.05);
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, 2u);  // the test fails at 5 and ignores the 1 after it
  EXPECT_LE(clopper_pearson_upper(4, 1000, 0.05), 0.01);
}

TEST(Certify, CertifiesNothingWhenTheFirstFails) {
  EXPECT_FALSE(last_certified(Counts{6, 0, 0}, 1000, 0.01, 0.05));
  EXPECT_FALSE(last_certified(Counts{}, 1000, 0.01, 0.05));
}

// Checks the theorem on a path whose true rates are known: the true rate of the certified policy
// exceeds ε in at most a share δ of the draws.
TEST(Certify, IsWrongInAtMostDeltaOfTheDraws) {
  constexpr double kEpsilon = 0.02, kDelta = 0.1;
  constexpr int kImages = 1000, kDraws = 2000;
  // Each image has a uniform random number; policy m harms the images with a number below its rate.
  const std::vector<double> rates = {0.002, 0.01, 0.02001, 0.03};
  int violations = 0;
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    core::KeyedRandom random(5, draw);
    Counts harmed(rates.size());
    for (int i = 0; i < kImages; ++i) {
      const double u = random.uniform();
      for (std::size_t m = 0; m < rates.size(); ++m) harmed[m] += u < rates[m];
    }
    const auto result = last_certified(harmed, kImages, kEpsilon, kDelta);
    violations += result && rates[*result] > kEpsilon;
  }
  // Four standard deviations above δ are 254. A choice without the bound would fail this check: it
  // errs in about half of the draws, because one policy on the path lies at the boundary.
  EXPECT_LE(violations, kDelta * kDraws + 4 * std::sqrt(kDelta * (1 - kDelta) * kDraws));
  EXPECT_GE(violations, 0.3 * kDelta * kDraws);
}

TEST(LevelOfAttempt, SumsToAtMostDelta) {
  EXPECT_DOUBLE_EQ(level_of_attempt(0.05, 1), 0.045);
  EXPECT_DOUBLE_EQ(level_of_attempt(0.05, 3), 0.00045);
  double spent = 0;
  for (int attempt = 1; attempt <= 50; ++attempt) spent += level_of_attempt(0.05, attempt);
  EXPECT_LE(spent, 0.05 * (1 + 1e-12));
}

}  // namespace
}  // namespace offramp::policy
