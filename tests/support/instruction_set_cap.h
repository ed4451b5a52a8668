#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>

#include "runtime/kernels_name.h"

namespace offramp::test {

/// Skips all tests of the program if ONEDNN_MAX_CPU_ISA names an instruction set that the CPU or
/// this version of oneDNN does not have: they would run under another one, and be reported as
/// passed under this one.
class InstructionSetCap : public testing::Environment {
 public:
  void SetUp() override {
    const char* cap = std::getenv("ONEDNN_MAX_CPU_ISA");
    if (!cap) return;
    std::string name = cap;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    const std::string kernels = runtime::kernels_name();
    if (!kernels.ends_with(" " + name))
      GTEST_SKIP() << "ONEDNN_MAX_CPU_ISA=" << cap << " has no effect here: the kernels are "
                   << kernels;
  }
};

/// Registers the check; a program whose tests run under caps includes this header in one file.
inline testing::Environment* const kInstructionSetCap =
    testing::AddGlobalTestEnvironment(new InstructionSetCap);

}  // namespace offramp::test
