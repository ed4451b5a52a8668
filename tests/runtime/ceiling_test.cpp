#include "runtime/ceiling.h"

#include <gtest/gtest.h>

#include "runtime/ceiling_kernels.h"

namespace offramp {
namespace {

TEST(Ceiling, IsVoidBelowNineteenTwentiethsOfWhatTheClockAllows) {
  Ceiling ceiling;
  ceiling.macs_per_instruction = 16;
  ceiling.per_cycle = 2;
  ceiling.clock_hz = 3e9;
  EXPECT_DOUBLE_EQ(ceiling.theoretical(), 96e9);
  ceiling.core_macs_per_second = 0.951 * 96e9;
  EXPECT_FALSE(ceiling.is_void());
  ceiling.core_macs_per_second = 0.949 * 96e9;
  EXPECT_TRUE(ceiling.is_void());
}

TEST(Ceiling, HasOneKernelForEachPrecision) {
  std::vector<std::string> seen;
  for (const PeakKernel& kernel : peak_kernels()) {
    for (const std::string& other : seen) EXPECT_NE(kernel.precision, other);
    seen.push_back(kernel.precision);
    EXPECT_GT(kernel.macs_per_instruction, 0);
    kernel.run(10);  // has its instructions
  }
}

TEST(Ceiling, MeasuresAllCoresTogether) {
  for (const Ceiling& ceiling : measure_ceilings(2, 0.02)) {
    EXPECT_EQ(ceiling.cores, 2);
    EXPECT_GT(ceiling.core_macs_per_second, 0);
    EXPECT_GT(ceiling.macs_per_second, 0);
    EXPECT_GT(ceiling.clock_hz, 0);
    EXPECT_GT(ceiling.per_cycle, 0);
  }
}

}  // namespace
}  // namespace offramp
