#include "policy/binomial.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"

namespace offramp::policy {
namespace {

TEST(Binomial, AgreesWithTheCasesThatHaveAFormula) {
  EXPECT_DOUBLE_EQ(binomial_cdf(0, 10, 0.25), std::pow(0.75, 10));
  EXPECT_DOUBLE_EQ(binomial_cdf(9, 10, 0.25), 1 - std::pow(0.25, 10));
  EXPECT_EQ(binomial_cdf(-1, 10, 0.25), 0);
  EXPECT_EQ(binomial_cdf(10, 10, 0.25), 1);
  EXPECT_EQ(binomial_cdf(3, 10, 0), 1);
  EXPECT_EQ(binomial_cdf(3, 10, 1), 0);
  EXPECT_NEAR(binomial_cdf(2, 5, 0.5), 0.5, 1e-15);
}

// The golden values were computed with Python's fractions; every term is exact.
TEST(Binomial, AgreesWithExactFractions) {
  EXPECT_NEAR(binomial_cdf(3, 40, 1 / 20.0), 0.8618502244989342, 1e-14);
  EXPECT_NEAR(binomial_cdf(35, 40, 4 / 5.0), 0.9240855045501057, 1e-14);
  EXPECT_NEAR(binomial_cdf(7, 4000, 1 / 400.0), 0.2198824595835071, 1e-13);
}

// The golden values come from calibration_golden.py (mpmath 1.2.1, 50 digits).
TEST(Binomial, IsAccurateForAMillionImages) {
  const auto near = [](double found, double expected) {
    EXPECT_NEAR(found, expected, 1e-12 * expected);
  };
  near(binomial_cdf(3, 1000000, 1e-6), 0.98101190443709661);
  near(binomial_cdf(19800, 1000000, 0.02), 0.076907386810989993);
  near(binomial_cdf(498000, 1000000, 0.5), 3.1804668750412443e-5);
  near(binomial_cdf(400, 1000000, 0.0005), 2.0673408133485752e-6);
  near(binomial_cdf(9, 1000000, 1e-4), 1.1206922791323461e-31);
  near(clopper_pearson_upper(0, 1000000, 0.05), 2.9957277863525444e-6);
  near(clopper_pearson_upper(40, 10000, 0.045), 0.0052416808676161989);
  near(clopper_pearson_upper(19800, 1000000, 1e-9), 0.020647789785298884);
  near(clopper_pearson_upper(3, 4000, 1e-30), 0.019928217285218635);
  near(clopper_pearson_upper(80, 100, 0.9), 0.750118846116188);
  near(clopper_pearson_lower(1, 1000000, 0.025), 2.5317807663794179e-8);
  near(clopper_pearson_lower(40, 10000, 0.01), 0.0026786432025522996);
}

TEST(Binomial, IsTheSumOfEveryTermOfASmallOne) {
  for (int n = 1; n <= 30; ++n)
    for (const double p : {1e-9, 0.01, 0.3, 0.5, 0.77, 0.999}) {
      long double sum = 0, choices = 1;
      for (int k = 0; k < n; ++k) {
        sum += choices * std::pow(static_cast<long double>(p), k) *
               std::pow(1 - static_cast<long double>(p), n - k);
        choices = choices * (n - k) / (k + 1);
        ASSERT_NEAR(binomial_cdf(k, n, p), static_cast<double>(sum), 1e-13) << k << " of " << n;
        ASSERT_NEAR(binomial_cdf(k, n, p) / static_cast<double>(sum), 1, 1e-12);
      }
    }
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
    core::KeyedRandom random(3, round);
    const auto n = static_cast<std::int64_t>(1 + random.below(100000));
    const auto k = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(n)));
    const double delta = random.uniform(0.001f, 0.5f);
    const double p = clopper_pearson_upper(k, n, delta);
    ASSERT_GT(p, static_cast<double>(k) / static_cast<double>(n));
    ASSERT_NEAR(binomial_cdf(k, n, p), delta, 1e-8 * delta + 1e-12) << k << " of " << n;
  }
}

}  // namespace
}  // namespace offramp::policy
