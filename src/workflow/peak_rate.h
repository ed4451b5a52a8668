#pragma once

#include <string>
#include <vector>

namespace offramp::workflow {

/// The peak rate of this machine in one precision, in multiply-accumulates per second: measured
/// with loops of a single instruction that use registers only, and computed from the clock rate.
struct Ceiling {
  std::string precision;    ///< "f32", "bf16", "int8"
  std::string instruction;  ///< "vfmadd231ps zmm"
  int macs_per_instruction = 0;
  double per_cycle = 0;         ///< instructions that a core can start in a cycle
  bool per_cycle_known = true;  ///< documented for this CPU; false: the measured rate, rounded
  int cores = 1;
  double core_macs_per_second = 0;  ///< rate of one core while the others are idle
  double macs_per_second = 0;       ///< rate of all cores together
  double clock_hz = 0;  ///< clock rate of a core at that time, measured with a chain of additions

  /// Peak rate of one core by its clock: macs_per_instruction × per_cycle × clock_hz.
  double theoretical() const {
    return static_cast<double>(macs_per_instruction) * per_cycle * clock_hz;
  }
  /// True if the measured rate is below 95 % of the theoretical one. Other load or a virtual
  /// machine's host then disturbed the measurement, so it must not be used.
  bool is_invalid() const { return core_macs_per_second < 0.95 * theoretical(); }
};

/// Measures the peak rate in each precision that the CPU has instructions for.
/// @param cores    number of cores that are measured together; 0: all
/// @param seconds  duration for each precision
std::vector<Ceiling> measure_ceilings(int cores = 0, double seconds = 0.6);

}  // namespace offramp::workflow
