// This file is compiled for every CPU and runs before anything that is compiled for one version of
// the instruction set: on a CPU that lacks it, the program ends here, and ctest says "skipped".
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

__attribute__((constructor(101))) void end_where_instructions_are_missing() {
  const char* version = std::getenv("OFFRAMP_TEST_VERSION");
  if (version == nullptr || std::strcmp(version, "x86-64-v3") != 0) return;
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c"))
    return;
  std::printf("this CPU lacks the instructions of %s\n", version);
  std::fflush(stdout);
  _exit(0);
}

}  // namespace
