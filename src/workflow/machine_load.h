#pragma once

#include <cstdint>
#include <optional>

namespace offramp::workflow {

/// What else the machine did while something was measured, as shares of all its cores' time.
struct MachineLoad {
  double others = 0;        ///< other processes
  double stolen = 0;        ///< kept from a virtual machine by its host
  double load_average = 0;  ///< of the last minute

  /// Enough to change what was measured.
  bool is_busy() const { return others + stolen > 0.03; }
};

/// CPU time since the machine started, in seconds over all cores.
struct MachineTime {
  double busy = 0, stolen = 0, idle = 0;
};

/// Reads the first line of /proc/stat ("cpu  user nice system idle iowait irq softirq steal …").
/// @param ticks_per_second  of its numbers
/// @return nullopt if it is not such a line
std::optional<MachineTime> parse_machine_time(const char* line, double ticks_per_second);

/// Watches the machine from its construction on.
class MachineWatch {
 public:
  MachineWatch();
  /// Since then; zeros where the system does not tell.
  MachineLoad load() const;

 private:
  std::optional<MachineTime> start_;
  double own_start_ = 0;
};

}  // namespace offramp::workflow
