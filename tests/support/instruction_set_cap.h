#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <cstdlib>
#include <string>
#include <string_view>

#include "runtime/kernels_name.h"

namespace offramp::test {

/// Whether a text that ends with the name of the instruction set in use ends with that of a value
/// of ONEDNN_MAX_CPU_ISA. If not, the cap has no effect, or a smaller set is used: the CPU or this
/// version of oneDNN does not have the set.
inline bool names_instruction_set(std::string_view text, std::string_view cap) {
  std::string name = " ";
  for (const char c : cap) name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text.ends_with(name);
}

/// Skips all tests of the program where the value of ONEDNN_MAX_CPU_ISA has no effect: they would
/// run under another instruction set, and be reported as passed under this one.
class InstructionSetCap : public testing::Environment {
 public:
  void SetUp() override {
    const char* cap = std::getenv("ONEDNN_MAX_CPU_ISA");
    const std::string kernels = runtime::kernels_name();
    if (cap && !names_instruction_set(kernels, cap))
      GTEST_SKIP() << "ONEDNN_MAX_CPU_ISA=" << cap << " has no effect here: the kernels are "
                   << kernels;
  }
};

}  // namespace offramp::test
