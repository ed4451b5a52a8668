#include "policy/class_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/random.h"

namespace offramp::policy::detail {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The lengths are around the number of lanes and far above it.
std::vector<float> random_values(std::uint64_t round, float low, float high) {
  core::KeyedRandom random(17, round);
  std::vector<float> values(1 + round % 40 + (round % 7 == 0 ? 100 : 0));
  for (float& value : values) value = random.uniform(low, high);
  return values;
}

TEST(Exponentials, AreThoseOfTheCLibrary) {
  for (std::uint64_t round = 0; round < 3000; ++round) {
    const std::vector<float> z = random_values(round, -800, 0);
    const double temperature = 0.01 + static_cast<double>(round % 300) / 100;
    std::vector<double> e(z.size());
    const double total = exponentials(z, 0.0, temperature, e);
    for (std::size_t i = 0; i < z.size(); ++i) {
      const double x = z[i] / temperature, expected = std::exp(x);
      // The tolerance covers the series (5e-16) and the rounding of the exponent, which grows with
      // -x.
      if (x > -708)
        ASSERT_NEAR(e[i], expected, expected * (5e-16 + 3e-16 * -x)) << x;
      else
        ASSERT_LT(e[i], 1e-307) << x;
    }
    ASSERT_NEAR(total, std::accumulate(e.begin(), e.end(), 0.0), 1e-13 * total);
  }
}

TEST(Exponentials, OfZeroIsExactlyOne) {
  double e = 0;
  EXPECT_EQ(exponentials(std::vector<float>{3.25f}, 3.25, 0.7, std::span(&e, 1)), 1);
  EXPECT_EQ(e, 1);
}

TEST(Exponentials, PassOnNaN) {
  for (std::size_t size = 1; size < 20; ++size)
    for (std::size_t at = 0; at < size; ++at) {
      std::vector<float> z(size, -1.0f);
      z[at] = kNaN;
      std::vector<double> e(size);
      EXPECT_TRUE(std::isnan(exponentials(z, 0, 1, e)));
      EXPECT_TRUE(std::isnan(e[at]));
      z[at] = -kInfinity;
      EXPECT_FALSE(std::isnan(exponentials(z, 0, 1, e)));
      EXPECT_EQ(e[at], 0);
    }
}

TEST(Logarithm, IsThatOfTheCLibrary) {
  for (std::uint64_t round = 0; round < 20000; ++round) {
    core::KeyedRandom random(18, round);
    const double x = std::ldexp(1 + static_cast<double>(random.uniform()),
                                static_cast<int>(random.below(1000)) - 500);
    const double expected = std::log(x);
    ASSERT_NEAR(logarithm(x), expected, 5e-16 * std::max(1.0, std::abs(expected))) << x;
  }
  EXPECT_EQ(logarithm(1), 0);
}

TEST(Entropy, IsTheSumOfItsTerms) {
  for (std::uint64_t round = 0; round < 1000; ++round) {
    std::vector<float> p = random_values(round, 0, 1);
    p[round % p.size()] = round % 2 == 0 ? 0.0f : std::numeric_limits<float>::denorm_min();
    double expected = 0;
    for (const double value : p)
      if (value > 0) expected -= value * std::log(value);
    ASSERT_NEAR(entropy(p), expected, 1e-13);
  }
  EXPECT_TRUE(std::isnan(entropy(std::vector<float>{0.5f, kNaN})));
}

TEST(Margin, AgreesWithSorting) {
  for (std::uint64_t round = 0; round < 2000; ++round) {
    std::vector<float> p = random_values(round, 0, 1);
    if (round % 3 == 0)
      for (float& value : p) value = std::round(value * 4) / 4;  // ties
    const float found = margin(p);
    std::ranges::sort(p, std::greater{});
    ASSERT_EQ(found, p.size() == 1 ? p[0] : p[0] - p[1]) << round;
  }
  EXPECT_TRUE(std::isnan(margin(std::vector<float>(19, kNaN))));
}

TEST(FirstLargest, AgreesWithALinearSearch) {
  for (std::uint64_t round = 0; round < 4000; ++round) {
    std::vector<float> z = random_values(round, -3, 3);
    core::KeyedRandom random(19, round);
    for (float& value : z) {
      if (round % 2 == 0) value = std::round(value);  // ties
      const auto kind = random.below(12);
      if (kind == 0) value = kNaN;
      if (kind == 1) value = -kInfinity;
      if (kind == 2 && round % 5 == 0) value = kInfinity;
    }
    std::size_t expected = z.size();
    for (std::size_t i = 0; i < z.size(); ++i)
      if (!std::isnan(z[i]) && (expected == z.size() || z[i] > z[expected])) expected = i;
    ASSERT_EQ(first_largest(z), expected == z.size() ? 0 : expected) << round;
    const std::vector<double> wide(z.begin(), z.end());
    ASSERT_EQ(first_largest(wide), first_largest(z)) << round;
  }
}

}  // namespace
}  // namespace offramp::policy::detail
