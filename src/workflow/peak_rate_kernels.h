#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace offramp::workflow {

/// A loop of one multiply-add instruction on registers, with enough independent sums to keep all
/// execution units of a core busy.
struct PeakKernel {
  std::string precision;    ///< "f32"
  std::string instruction;  ///< "vfmadd231ps zmm"
  int macs_per_instruction = 0;
  double per_cycle = 0;  ///< instructions that a core of this CPU starts per cycle; 0: unknown
  int instructions = 0;  ///< instructions in one iteration of the loop
  void (*run)(std::int64_t turns) = nullptr;
};

/// The kernel with the widest instruction for each precision that this CPU has instructions for.
std::vector<PeakKernel> peak_kernels();

/// Executes `additions` additions of two registers. Each needs the result of the one before, so
/// each takes one cycle; the duration gives the clock rate.
void add_chain(std::int64_t additions);

}  // namespace offramp::workflow
