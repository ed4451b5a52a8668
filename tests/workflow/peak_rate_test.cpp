#include "workflow/peak_rate.h"

#include <gtest/gtest.h>

#include "workflow/peak_rate_kernels.h"

namespace offramp::workflow {
namespace {

TEST(Ceiling, IsInvalidBelow95PercentOfTheTheoreticalRate) {
  Ceiling ceiling;
  ceiling.macs_per_instruction = 16;
  ceiling.per_cycle = 2;
  ceiling.clock_hz = 3e9;
  EXPECT_DOUBLE_EQ(ceiling.theoretical(), 96e9);
  ceiling.core_macs_per_second = 0.951 * 96e9;
  EXPECT_FALSE(ceiling.is_invalid());
  ceiling.core_macs_per_second = 0.949 * 96e9;
  EXPECT_TRUE(ceiling.is_invalid());
}

TEST(Ceiling, RunsEveryKernelThatThisCpuHas) {
  std::vector<std::string> seen;
  for (const PeakKernel& kernel : peak_kernels()) {
    for (const std::string& other : seen) EXPECT_NE(kernel.precision, other);
    seen.push_back(kernel.precision);
    EXPECT_GT(kernel.macs_per_instruction, 0);
    kernel.run(10);  // ends the process if an instruction is not available or an operand is wrong
  }
  // Every x86-64 CPU that is supported has a kernel for f32.
  EXPECT_FALSE(seen.empty());
}

TEST(Ceiling, MeasuresAllCoresTogether) {
  const std::vector<Ceiling> ceilings = measure_ceilings(2, 0.02);
  ASSERT_FALSE(ceilings.empty());
  for (const Ceiling& ceiling : ceilings) {
    EXPECT_EQ(ceiling.cores, 2);
    EXPECT_GT(ceiling.core_macs_per_second, 0);
    EXPECT_GT(ceiling.macs_per_second, 0);
    EXPECT_GT(ceiling.clock_hz, 0);
    EXPECT_GT(ceiling.per_cycle, 0);
  }
}

}  // namespace
}  // namespace offramp::workflow
