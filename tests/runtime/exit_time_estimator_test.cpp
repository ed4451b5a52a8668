#include "runtime/exit_time_estimator.h"

#include <gtest/gtest.h>

#include <cmath>

namespace offramp::runtime {
namespace {

TEST(ExitTimeEstimator, HasNoEstimateAtFirst) {
  ExitTimeEstimator times(2);
  EXPECT_TRUE(std::isinf(times.expected(0)));
  EXPECT_FALSE(times.fits(0, 1e9));
  times.add(1, 2);
  EXPECT_TRUE(std::isinf(times.expected(0)));
  EXPECT_EQ(times.expected(1), 2);
  EXPECT_TRUE(times.fits(1, 2));
  EXPECT_FALSE(times.fits(1, 1.999));
}

TEST(ExitTimeEstimator, ExpectsNearlyTheLongestOfTheLastRuns) {
  ExitTimeEstimator times(1);
  for (int i = 1; i <= 64; ++i) times.add(0, i);
  EXPECT_EQ(times.expected(0), 61);  // 0.95 · 64 = 60.8
  times.add(0, 100);                 // replaces the oldest time, 1
  EXPECT_EQ(times.expected(0), 62);
  for (int i = 0; i < 64; ++i) times.add(0, 5);
  EXPECT_EQ(times.expected(0), 5);  // the slow times were dropped
}

TEST(ExitTimeEstimator, TriesAgainAfterASlowPeriod) {
  ExitTimeEstimator times(1);
  times.add(0, 1);
  for (int i = 0; i < 64; ++i) times.add(0, 9);
  int refused = 0;
  while (!times.fits(0, 3)) ASSERT_LT(++refused, 1000);
  EXPECT_EQ(refused, 200);  // 1 + 8 / 4 = 3: halved twice
  times.add(0, 9);          // the exit is still slow
  EXPECT_FALSE(times.fits(0, 3));
  for (int i = 0; i < 5000; ++i) EXPECT_FALSE(times.fits(0, 0.9));  // below the shortest time
  times.add(0, 2);  // starts a new record without the slow times
  EXPECT_TRUE(times.fits(0, 3));
}

TEST(ExitTimeEstimator, KeepsItsRecordIfAnExitIsOnlyJustTooSlow) {
  ExitTimeEstimator times(1);
  for (int i = 0; i < 64; ++i) times.add(0, i % 8 == 0 ? 1.2 : 1);
  int refused = 0;
  while (!times.fits(0, 1.15)) ASSERT_LT(++refused, 64);
  times.add(0, 1);
  EXPECT_FALSE(times.fits(0, 1.15));
}

}  // namespace
}  // namespace offramp::runtime
