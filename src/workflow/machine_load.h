#pragma once

#include <cstdint>
#include <optional>

namespace offramp::workflow {

/// The other load of the machine during a measurement, as shares of the time of all its cores.
struct MachineLoad {
  double others = 0;        ///< share used by other processes
  double stolen = 0;        ///< share that the host of a virtual machine gave to other guests
  double load_average = 0;  ///< the system's load average of the last minute, in processes

  /// True if the other load was high enough to distort the measurement.
  bool is_busy() const { return others + stolen > 0.03; }
};

/// CPU time since the machine started, in seconds over all cores.
struct MachineTime {
  double busy = 0, stolen = 0, idle = 0;
};

/// Reads the first line of /proc/stat ("cpu  user nice system idle iowait irq softirq steal …").
/// @param ticks_per_second  unit of the numbers in the line
/// @return nullopt if the line does not have this form
std::optional<MachineTime> parse_machine_time(const char* line, double ticks_per_second);

/// Measures the other load of the machine, beginning with the construction of the object.
class MachineLoadMeter {
 public:
  MachineLoadMeter();
  /// The load since the construction; zeros if the system does not report it.
  MachineLoad load() const;

 private:
  std::optional<MachineTime> start_;
  double own_start_ = 0;
};

}  // namespace offramp::workflow
