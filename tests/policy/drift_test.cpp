#include "policy/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/random.h"

namespace offramp::policy {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

using Shares = std::vector<double>;

/// Draws exits at random according to shares.
struct Source {
  core::KeyedRandom random;
  Shares shares;

  int next() {
    const float u = random.uniform();
    double sum = 0;
    int k = 0;
    for (; k + 1 < static_cast<int>(shares.size()); ++k)
      if (u < (sum += shares[static_cast<std::size_t>(k)])) break;
    return k;
  }
};

// The golden values are torch.special.gammaincc(degrees / 2, x / 2) in double.
TEST(ChiSquareTail, AgreesWithGoldenValues) {
  const auto expect = [](double x, int degrees, double golden) {
    EXPECT_NEAR(chi_square_tail(x, degrees), golden, 1e-12 * golden + 1e-15) << x << " " << degrees;
  };
  expect(0.5, 1, 0.47950012218695337);
  expect(15.14, 1, 9.982564080346299e-05);
  expect(3, 2, 0.22313016014842982);
  expect(20, 3, 0.00016974243555282638);
  expect(30, 4, 4.894437128029217e-06);
  expect(2, 5, 0.8491450360846096);
  expect(7.5, 9, 0.5852087693825123);
  EXPECT_EQ(chi_square_tail(0, 3), 1);
}

TEST(ExitWindow, CountsEveryImageAlikeAsLongAsThereAreFew) {
  ExitWindow window(3, 1e9);
  EXPECT_EQ(window.images(), 0);
  EXPECT_THAT(window.shares(), ElementsAre(0, 0, 0));
  for (const int exit_index : {0, 2, 2, 1, 2}) window.add(exit_index);
  EXPECT_NEAR(window.images(), 5, 1e-6);
  EXPECT_THAT(window.shares(),
              ElementsAre(DoubleNear(0.2, 1e-6), DoubleNear(0.2, 1e-6), DoubleNear(0.6, 1e-6)));
}

TEST(ExitWindow, GivesOldImagesLittleWeight) {
  ExitWindow window(2, 100);
  for (int i = 0; i < 100'000; ++i) window.add(0);
  EXPECT_NEAR(window.images(), 199, 1e-6);  // (1 + 0.99) / (1 - 0.99)
  for (int i = 0; i < 100; ++i) window.add(1);
  EXPECT_NEAR(window.shares()[0], std::pow(0.99, 100), 1e-9);
}

TEST(CompareExits, ComputesPearsonsStatistic) {
  // Computed by hand: now 120, 80; then 200, 200; pooled 320/600 and 280/600.
  // χ² = Σ (O - E)² / E with E = 106.67, 93.33, 213.33, 186.67: 5.357142857.
  const DriftVerdict verdict = compare_exits(Shares{0.6, 0.4}, 200, Shares{0.5, 0.5}, 400);
  EXPECT_NEAR(verdict.p_value, chi_square_tail(5.357142857142857, 1), 1e-12);
  EXPECT_NEAR(verdict.distance, 0.1, 1e-12);
  EXPECT_EQ(verdict.drift, Drift::none);
}

TEST(CompareExits, GivesNoVerdictForFewImages) {
  EXPECT_EQ(compare_exits(Shares{1, 0}, 199, Shares{0, 1}, 1000).drift, Drift::unknown);
  EXPECT_EQ(compare_exits(Shares{1, 0}, 1000, Shares{0, 1}, 199).drift, Drift::unknown);
  EXPECT_EQ(compare_exits(Shares{1, 0}, 200, Shares{0, 1}, 200).drift, Drift::drifted);
}

TEST(CompareExits, IgnoresSmallDifferencesHoweverSignificant) {
  const DriftVerdict verdict = compare_exits(Shares{0.54, 0.46}, 1e6, Shares{0.5, 0.5}, 1e6);
  EXPECT_LT(verdict.p_value, 1e-10);
  EXPECT_EQ(verdict.drift, Drift::none);
}

TEST(CompareExits, MergesExitsWithFewImages) {
  const auto p = [](const Shares& now, const Shares& then) {
    return compare_exits(now, 300, then, 300).p_value;
  };
  // With an expected count of 3, exit 2 is merged with exit 3, and exit 3, the last, with exit 2.
  EXPECT_EQ(p({0.5, 0.02, 0.48}, {0.5, 0, 0.5}), 1);
  EXPECT_EQ(p({0.5, 0.48, 0.02}, {0.5, 0.5, 0}), 1);
  EXPECT_EQ(p({1, 0, 0}, {1, 0, 0}), 1);
  EXPECT_LT(p({0.5, 0.1, 0.4}, {0.5, 0, 0.5}), 1e-4);
}

TEST(Drift, IsRarelyReportedWithoutAChange) {
  const Shares shares = {0.41, 0.27, 0.32};
  int alarms = 0;
  for (std::uint64_t run = 0; run < 40; ++run) {
    // The histogram from calibration is a random draw as well.
    Source source{{run, 1}, shares};
    Shares then(3);
    for (int i = 0; i < 2000; ++i) then[static_cast<std::size_t>(source.next())] += 1 / 2000.0;
    ExitWindow window(3);
    bool alarm = false;
    for (int i = 0; i < 20'000; ++i) {
      window.add(source.next());
      if (i % 50 == 0)
        alarm |=
            compare_exits(window.shares(), window.images(), then, 2000).drift == Drift::drifted;
    }
    alarms += alarm;
  }
  EXPECT_LE(alarms, 1);
}

TEST(Drift, IsDetectedAfterALongTimeWithoutAChange) {
  const Shares then = {0.41, 0.27, 0.32};
  for (std::uint64_t run = 0; run < 10; ++run) {
    Source source{{run, 2}, then};
    ExitWindow window(3);
    for (int i = 0; i < 200'000; ++i) window.add(source.next());
    source.shares = {0.25, 0.25, 0.5};  // harder images
    int needed = 0;
    while (compare_exits(window.shares(), window.images(), then, 2000).drift != Drift::drifted) {
      window.add(source.next());
      ASSERT_LT(++needed, 2000);
    }
  }
}

}  // namespace
}  // namespace offramp::policy
