#include "policy/rate_monitor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/random.h"

namespace offramp::policy {
namespace {

/// Observations until the alarm, at most `most`, in a stream whose events have this rate.
std::int64_t run_length(RateMonitor& monitor, double rate, std::uint64_t seed, std::int64_t most) {
  core::KeyedRandom random(seed, 1);
  for (std::int64_t i = 1; i <= most; ++i) {
    monitor.add(static_cast<double>(random.next()) * 0x1p-64 < rate);
    if (monitor.alarm()) return i;
  }
  return most;
}

TEST(RateMonitor, ComputesTheEvidenceOfTheFirstObservations) {
  // One rate q of odds r has q/b = r / (1 - b + r b) and (1 - q)/(1 - b) = 1 / (1 - b + r b).
  RateMonitor monitor(0.1, 1000);
  EXPECT_EQ(monitor.evidence(), 0);
  const std::vector<double> ratios{1.25, 1.6, 2, 3, 5, 10, 30, 100};
  double after_event = 0, after_both = 0;
  for (const double r : ratios) {
    const double sum = r / (0.9 + 0.1 * r);
    after_event += sum / 8;
    after_both += (sum + 1) / (0.9 + 0.1 * r) / 8;
  }
  monitor.add(true);
  EXPECT_NEAR(monitor.evidence(), after_event, 1e-12);
  monitor.add(false);
  EXPECT_NEAR(monitor.evidence(), after_both, 1e-12);
  EXPECT_EQ(monitor.observations(), 2);
  EXPECT_EQ(monitor.events(), 1);
  monitor.restart();
  EXPECT_EQ(monitor.evidence(), 0);
  EXPECT_EQ(monitor.observations(), 0);
}

TEST(RateMonitor, RaisesFalseAlarmsAsRarelyAsStated) {
  // At the bound itself, which is the worst case: the mean run length, cut at 20 times the stated
  // one and so underestimated, is at least the stated one.
  constexpr double kAlarmAt = 500;
  for (const double bound : {0.005, 0.03, 0.2}) {
    double sum = 0;
    constexpr int kStreams = 300;
    for (int i = 0; i < kStreams; ++i) {
      RateMonitor monitor(bound, kAlarmAt);
      sum += static_cast<double>(
          run_length(monitor, bound, static_cast<std::uint64_t>(i), std::int64_t{10'000}));
    }
    EXPECT_GE(sum / kStreams, kAlarmAt) << bound;
  }
}

TEST(RateMonitor, RaisesNoAlarmInLongCleanStreams) {
  // A rate well below the bound.
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    RateMonitor monitor(0.03, 100'000);
    EXPECT_EQ(run_length(monitor, 0.01, seed, 1'000'000), 1'000'000) << seed;
    EXPECT_FALSE(monitor.alarm());
    EXPECT_LT(monitor.evidence(), 1000);
  }
}

TEST(RateMonitor, DetectsAChangeAfterAnyTimeWithoutOne) {
  struct Case {
    double rate;
    std::int64_t median_at_most;
  };
  for (const Case& one : {Case{0.06, 700}, Case{0.12, 130}, Case{0.4, 20}}) {
    std::vector<std::int64_t> delays;
    for (std::uint64_t seed = 0; seed < 51; ++seed) {
      RateMonitor monitor(0.03, 100'000);
      run_length(monitor, 0.01, seed, 20'000);
      ASSERT_FALSE(monitor.alarm());
      delays.push_back(run_length(monitor, one.rate, seed + 1000, 100'000));
      EXPECT_TRUE(monitor.alarm());
    }
    std::ranges::sort(delays);
    EXPECT_LE(delays[25], one.median_at_most) << one.rate;
  }
}

TEST(RateMonitor, KeepsItsAlarmUntilItIsRestarted) {
  RateMonitor monitor(0.01, 100);
  while (!monitor.alarm()) monitor.add(true);
  const double evidence = monitor.evidence();
  for (int i = 0; i < 1000; ++i) monitor.add(false);
  EXPECT_TRUE(monitor.alarm());
  EXPECT_EQ(monitor.evidence(), evidence);
  monitor.restart();
  EXPECT_FALSE(monitor.alarm());
}

}  // namespace
}  // namespace offramp::policy
