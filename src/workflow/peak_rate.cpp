#include "workflow/peak_rate.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "core/parallel.h"
#include "workflow/peak_rate_kernels.h"

namespace offramp::workflow {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <typename Work>
double seconds_for(const Work& work) {
  const auto start = Clock::now();
  work();
  return seconds_since(start);
}

/// The 90th percentile of the rates of all slices. Interrupted slices are too slow, but none is
/// faster than the machine, so a high percentile is a good estimate of the peak.
double percentile_90(std::vector<double> values) {
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(values.size() * 9 / 10);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

struct CoreRates {
  double instructions_per_second = 0;
  double clock_hz = 0;
};

/// Measures the core that this thread runs on, in many slices that are shorter than the time
/// between two interruptions.
CoreRates measure_core(const PeakKernel& kernel, double seconds) {
  constexpr double kSlice = 4e-4;  // seconds
  constexpr std::int64_t kAdditions = 1 << 18;
  std::int64_t turns = 1000;
  for (double taken = 0; taken < kSlice; turns *= 2)
    taken = seconds_for([&] { kernel.run(turns); });
  std::vector<double> rates, clocks;
  const auto start = Clock::now();
  while (seconds_since(start) < seconds || rates.size() < 20) {
    rates.push_back(static_cast<double>(turns) * kernel.instructions /
                    seconds_for([&] { kernel.run(turns); }));
    clocks.push_back(static_cast<double>(kAdditions) / seconds_for([] { add_chain(kAdditions); }));
  }
  return {percentile_90(std::move(rates)), percentile_90(std::move(clocks))};
}

/// The sum of the rates of all cores, measured at the same time.
double measure_all_cores(const PeakKernel& kernel, int cores, double seconds) {
  std::vector<double> rates(static_cast<std::size_t>(cores));
  // A std::barrier would block for ever if one of the threads could not be started.
  std::atomic<int> waiting = cores;
  std::atomic<bool> given_up = false;
  core::Threads threads;
  threads.start(
      cores,
      [&](int core) {
        --waiting;
        while (waiting > 0 && !given_up) std::this_thread::yield();
        if (given_up) return;
        rates[static_cast<std::size_t>(core)] =
            measure_core(kernel, seconds).instructions_per_second;
      },
      [&] { given_up = true; });
  threads.join();
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

Ceiling measure(const PeakKernel& kernel, int cores, double seconds) {
  Ceiling ceiling;
  ceiling.precision = kernel.precision;
  ceiling.instruction = kernel.instruction;
  ceiling.macs_per_instruction = kernel.macs_per_instruction;
  ceiling.cores = cores;
  const CoreRates core = measure_core(kernel, seconds / 2);
  ceiling.clock_hz = core.clock_hz;
  ceiling.core_macs_per_second = core.instructions_per_second * kernel.macs_per_instruction;
  ceiling.macs_per_second =
      measure_all_cores(kernel, cores, seconds / 2) * kernel.macs_per_instruction;
  ceiling.per_cycle_known = kernel.per_cycle > 0;
  ceiling.per_cycle = ceiling.per_cycle_known
                          ? kernel.per_cycle
                          : std::max(1.0, std::round(core.instructions_per_second / core.clock_hz));
  return ceiling;
}

}  // namespace

std::vector<Ceiling> measure_ceilings(int cores, double seconds) {
  if (cores <= 0) cores = core::usable_cores();
  std::vector<Ceiling> ceilings;
  for (const PeakKernel& kernel : peak_kernels())
    ceilings.push_back(measure(kernel, cores, seconds));
  return ceilings;
}

}  // namespace offramp::workflow
