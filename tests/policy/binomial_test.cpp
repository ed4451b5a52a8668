#include "policy/binomial.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"

namespace offramp {
namespace {

TEST(Binomial, KnowsTheCasesThatHaveAFormula) {
  EXPECT_DOUBLE_EQ(binomial_cdf(0, 10, 0.25), std::pow(0.75, 10));
  EXPECT_DOUBLE_EQ(binomial_cdf(9, 10, 0.25), 1 - std::pow(0.25, 10));
  EXPECT_EQ(binomial_cdf(-1, 10, 0.25), 0);
  EXPECT_EQ(binomial_cdf(10, 10, 0.25), 1);
  EXPECT_EQ(binomial_cdf(3, 10, 0), 1);
  EXPECT_EQ(binomial_cdf(3, 10, 1), 0);
  EXPECT_NEAR(binomial_cdf(2, 5, 0.5), 0.5, 1e-15);
}

// Golden values: Python's fractions, every term exact.
TEST(Binomial, AgreesWithExactFractions) {
  EXPECT_NEAR(binomial_cdf(3, 40, 1 / 20.0), 0.8618502244989342, 1e-14);
  EXPECT_NEAR(binomial_cdf(35, 40, 4 / 5.0), 0.9240855045501057, 1e-14);
  EXPECT_NEAR(binomial_cdf(7, 4000, 1 / 400.0), 0.2198824595835071, 1e-13);
}

TEST(ClopperPearson, AgreesWithExactFractions) {
  EXPECT_NEAR(clopper_pearson_upper(5, 100, 0.05), 0.10225337764327451, 1e-13);
  EXPECT_NEAR(clopper_pearson_upper(1, 50, 0.01), 0.12552371645855273, 1e-13);
  EXPECT_NEAR(clopper_pearson_upper(0, 100, 0.05), 1 - std::pow(0.05, 0.01), 1e-14);
  EXPECT_EQ(clopper_pearson_upper(7, 7, 0.05), 1);
  EXPECT_NEAR(clopper_pearson_lower(100, 100, 0.05), std::pow(0.05, 0.01), 1e-14);
  EXPECT_EQ(clopper_pearson_lower(0, 7, 0.05), 0);
}

TEST(ClopperPearson, IsWhereTheTailHasItsLevel) {
  for (std::uint64_t round = 0; round < 300; ++round) {
    KeyedRandom random(3, round);
    const auto n = static_cast<std::int64_t>(1 + random.below(100000));
    const auto k = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(n)));
    const double delta = random.uniform(0.001f, 0.5f);
    const double p = clopper_pearson_upper(k, n, delta);
    ASSERT_GT(p, static_cast<double>(k) / static_cast<double>(n));
    ASSERT_NEAR(binomial_cdf(k, n, p), delta, 1e-8 * delta + 1e-12) << k << " of " << n;
  }
}

}  // namespace
}  // namespace offramp
