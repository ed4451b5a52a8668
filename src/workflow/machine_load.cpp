#include "workflow/machine_load.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace offramp::workflow {
namespace {

std::optional<MachineTime> machine_time() {
  char line[512] = {};
  std::FILE* file = std::fopen("/proc/stat", "r");
  if (file == nullptr) return std::nullopt;
  const bool read = std::fgets(line, sizeof line, file) != nullptr;
  std::fclose(file);
  return read ? parse_machine_time(line, static_cast<double>(sysconf(_SC_CLK_TCK))) : std::nullopt;
}

double own_time() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

std::optional<MachineTime> parse_machine_time(const char* line, double ticks_per_second) {
  unsigned long long user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0,
                     steal = 0;
  if (std::sscanf(line, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
                  &wait, &irq, &soft, &steal) != 8)
    return std::nullopt;
  const auto seconds = [&](unsigned long long ticks) {
    return static_cast<double>(ticks) / ticks_per_second;
  };
  return MachineTime{seconds(user + nice + system + irq + soft), seconds(steal),
                     seconds(idle + wait)};
}

MachineLoadMeter::MachineLoadMeter() : start_(machine_time()), own_start_(own_time()) {}

MachineLoad MachineLoadMeter::load() const {
  MachineLoad load;
  if (getloadavg(&load.load_average, 1) != 1) load.load_average = 0;
  const auto now = machine_time();
  if (!start_ || !now) return load;
  const double busy = now->busy - start_->busy, stolen = now->stolen - start_->stolen,
               all = busy + stolen + now->idle - start_->idle;
  if (!(all > 0)) return load;
  load.others = std::clamp((busy - (own_time() - own_start_)) / all, 0.0, 1.0);
  load.stolen = std::clamp(stolen / all, 0.0, 1.0);
  return load;
}

}  // namespace offramp::workflow
