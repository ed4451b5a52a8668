#include "workflow/machine_load.h"

#include <gtest/gtest.h>

#include "workflow/benchmark.h"
#include "cli/bench_output.h"

namespace offramp::cli {
namespace {

TEST(MachineLoad, ReadsTheFirstLineOfProcStat) {
  const auto time = parse_machine_time("cpu  100 20 30 4000 500 6 7 80 9 10\ncpu0 1 2 3", 100);
  ASSERT_TRUE(time);
  EXPECT_DOUBLE_EQ(time->busy, 1.63);
  EXPECT_DOUBLE_EQ(time->stolen, 0.8);
  EXPECT_DOUBLE_EQ(time->idle, 45);
}

TEST(MachineLoad, RefusesOtherLines) {
  EXPECT_FALSE(parse_machine_time("", 100));
  EXPECT_FALSE(parse_machine_time("cpu  1 2 3\n", 100));
  EXPECT_FALSE(parse_machine_time("intr 1 2 3 4 5 6 7 8", 100));
}

TEST(MachineLoad, SpeaksUpWhereOthersHadMoreThanThreeHundredths) {
  EXPECT_EQ(busy_line({0.02, 0.005, 7}), "");
  EXPECT_EQ(busy_line({0.4, 0.0125, 3.2}),
            "the machine was busy: 40 % of its time went to other processes, 1.2 % to its host "
            "(load average 3.2); these times are provisional\n");
}

TEST(MachineLoad, IsAShare) {
  const MachineLoad load = MachineWatch().load();
  for (const double share : {load.others, load.stolen}) {
    EXPECT_GE(share, 0);
    EXPECT_LE(share, 1);
  }
}

// Nearest rank, by hand: of 200 times 1 … 200 ms, half are at most 100, 95 % at most 190.
TEST(Bench, LatenciesAreTimesOfImages) {
  std::vector<double> seconds;
  for (int i = 200; i >= 1; --i) seconds.push_back(1e-3 * i);
  const Latency latency = latency_of(seconds);
  EXPECT_DOUBLE_EQ(latency.p50, 100);
  EXPECT_DOUBLE_EQ(latency.p95, 190);
  EXPECT_DOUBLE_EQ(latency.p99, 198);
  EXPECT_DOUBLE_EQ(latency.max, 200);
  const Latency one = latency_of({0.004});
  EXPECT_DOUBLE_EQ(one.p50, 4);
  EXPECT_DOUBLE_EQ(one.p99, 4);
}

}  // namespace
}  // namespace offramp::cli
