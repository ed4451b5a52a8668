#include "data/epoch_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace offramp::data {
namespace {

std::vector<std::int64_t> places(std::int64_t count, std::uint64_t seed, std::uint64_t epoch) {
  const EpochOrder order(count, seed, epoch);
  std::vector<std::int64_t> result;
  for (std::int64_t place = 0; place < count; ++place) result.push_back(order[place]);
  return result;
}

TEST(EpochOrder, IsAPermutationOfAnyCount) {
  for (const std::int64_t count : {0, 1, 2, 7, 255, 256, 257, 1000, 65536, 65537, 100000}) {
    auto sorted = places(count, 1, 0);
    std::ranges::sort(sorted);
    std::vector<std::int64_t> expected(static_cast<std::size_t>(count));
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(sorted, expected) << count;
  }
}

TEST(EpochOrder, ChangesWithSeedAndEpochAlone) {
  EXPECT_EQ(places(100, 1, 0), places(100, 1, 0));
  EXPECT_NE(places(100, 1, 0), places(100, 1, 1));
  EXPECT_NE(places(100, 1, 0), places(100, 2, 0));
}

TEST(EpochOrder, PutsEveryImageAtEveryPlaceAboutEquallyOften) {
  for (const std::int64_t count : {4, 21}) {
    const auto n = static_cast<std::size_t>(count);
    std::vector<int> seen(n * n);
    const int epochs = 1000 * static_cast<int>(count);
    for (int epoch = 0; epoch < epochs; ++epoch) {
      const auto order = places(count, 9, static_cast<std::uint64_t>(epoch));
      for (std::size_t place = 0; place < n; ++place)
        ++seen[place * n + static_cast<std::size_t>(order[place])];
    }
    // Each is near a normal number of mean 1000 and standard deviation below 32; 441 of them stay
    // within 4.5 standard deviations.
    for (const int times : seen) EXPECT_NEAR(times, 1000, 142) << count;
  }
}

TEST(EpochOrder, KeepsNeighboursApart) {
  const auto order = places(10000, 3, 5);
  int near = 0;
  for (std::size_t i = 1; i < order.size(); ++i) near += std::abs(order[i] - order[i - 1]) < 100;
  // Of a random order about 2 % of the neighbours are so near to each other.
  EXPECT_NEAR(near, 200, 60);
}

}  // namespace
}  // namespace offramp::data
