#include "core/random.h"

#include <gtest/gtest.h>

#include <set>

namespace offramp::core {
namespace {

// The first outputs of SplitMix64 seeded with 0, as published with its reference implementation
// (Vigna, splitmix64.c) and used as a test vector by many ports.
TEST(Mix, IsSplitMix64) {
  EXPECT_EQ(splitmix64(0), 0xe220a8397b1dcdafu);
  EXPECT_EQ(splitmix64(0x9e3779b97f4a7c15u), 0x6e789e6aa1b965f4u);
  EXPECT_EQ(splitmix64(2 * 0x9e3779b97f4a7c15u), 0x06c45d188009454fu);
}

TEST(KeyedRandom, DependsOnItsKeyAlone) {
  KeyedRandom a(1, 2, 3), b(1, 2, 3);
  std::set<std::uint64_t> seen = {KeyedRandom(1, 3, 2).next(), KeyedRandom(2, 1, 3).next(),
                                  KeyedRandom(1, 2, 4).next()};
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t value = a.next();
    EXPECT_EQ(value, b.next());
    seen.insert(value);
  }
  EXPECT_EQ(seen.size(), 103u);
}

TEST(KeyedRandom, StaysInItsRanges) {
  KeyedRandom random(7, 0);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_LT(random.below(3), 3u);
    const float value = random.uniform();
    EXPECT_GE(value, 0.0f);
    EXPECT_LT(value, 1.0f);
    sum += value;
  }
  // The mean of 10^4 uniform numbers has a standard deviation of 0.0029.
  EXPECT_NEAR(sum / 10'000, 0.5, 0.015);
  EXPECT_EQ(random.below(1), 0u);
}

}  // namespace
}  // namespace offramp::core
