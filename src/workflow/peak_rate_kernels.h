#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace offramp::workflow {

/// A loop of one multiply-add instruction on registers, independent enough to fill the pipes.
struct PeakKernel {
  std::string precision;    ///< "f32"
  std::string instruction;  ///< "vfmadd231ps zmm"
  int macs_per_instruction = 0;
  double per_cycle = 0;  ///< of this family of CPUs; 0: unknown
  int instructions = 0;  ///< in one turn of the loop
  void (*run)(std::int64_t turns) = nullptr;
};

/// The widest kernel for each precision that this CPU has instructions for.
std::vector<PeakKernel> peak_kernels();

/// Adds one register to another that many times, each waiting for the one before: a cycle each.
void add_chain(std::int64_t additions);

}  // namespace offramp::workflow
