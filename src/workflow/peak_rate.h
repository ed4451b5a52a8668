#pragma once

#include <string>
#include <vector>

namespace offramp::workflow {

/// How many multiply-adds a second this machine does in one kind of number, by loops of one
/// instruction on registers alone, and how many it should.
struct Ceiling {
  std::string precision;    ///< "f32", "bf16", "int8"
  std::string instruction;  ///< "vfmadd231ps zmm"
  int macs_per_instruction = 0;
  double per_cycle = 0;         ///< instructions a core can start in a cycle
  bool per_cycle_known = true;  ///< of this family of CPUs; else the measured rate, rounded up
  int cores = 1;
  double core_macs_per_second = 0;  ///< of one core while the others idle
  double macs_per_second = 0;       ///< of all cores together
  double clock_hz = 0;              ///< of a core while it does that, by a chain of additions

  /// macs_per_instruction × per_cycle × clock_hz.
  double theoretical() const {
    return static_cast<double>(macs_per_instruction) * per_cycle * clock_hz;
  }
  /// Something kept the measurement from the machine: what was measured is below 95 % of what the
  /// clock allows.
  bool is_void() const { return core_macs_per_second < 0.95 * theoretical(); }
};

/// Measures one ceiling for each precision that the CPU has instructions for.
/// @param cores    how many are kept busy together; 0: all
/// @param seconds  for each precision
std::vector<Ceiling> measure_ceilings(int cores = 0, double seconds = 0.6);

}  // namespace offramp::workflow
