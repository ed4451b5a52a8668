#include "workflow/machine_load.h"

#include <gtest/gtest.h>

namespace offramp::workflow {
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

TEST(MachineLoad, IsBusyAboveThreePercentOfOthers) {
  EXPECT_FALSE((MachineLoad{0.02, 0.005, 7}.is_busy()));
  EXPECT_TRUE((MachineLoad{0.4, 0.0125, 3.2}.is_busy()));
}

TEST(MachineLoad, IsAShare) {
  const MachineLoad load = MachineLoadMeter().load();
  for (const double share : {load.others, load.stolen}) {
    EXPECT_GE(share, 0);
    EXPECT_LE(share, 1);
  }
}

}  // namespace
}  // namespace offramp::workflow
