#include "workflow/exit_times.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/numbers.h"

namespace offramp::workflow {
namespace {

constexpr int kTimedRounds = 9;  // number of rounds that are timed, after one that is not

}  // namespace

std::vector<double> measure_ms(const std::vector<TimedRun>& runs, std::span<const float> images) {
  std::vector<std::vector<double>> times(runs.size());
  for (int round = 0; round <= kTimedRounds; ++round)
    for (std::size_t r = 0; r < runs.size(); ++r) {
      const auto [predictor, last] = runs[r];
      const auto stop = [last = last](std::int64_t, const core::ExitOutput& output) {
        return output.exit_index == last;
      };
      const auto start = std::chrono::steady_clock::now();
      predictor->run(images, stop);
      const std::chrono::duration<double, std::milli> time =
          std::chrono::steady_clock::now() - start;
      if (round > 0) times[r].push_back(time.count());
    }
  const double count = static_cast<double>(images.size()) /
                       static_cast<double>(runs.front().predictor->image_size());
  std::vector<double> medians;
  for (std::vector<double>& of_run : times)
    medians.push_back(core::median(std::move(of_run)) / count);
  return medians;
}

PartTimes times_of_parts(std::span<const double> every, std::span<const double> least,
                         double plain) {
  const std::size_t heads = every.size() - 1, places = least.size() - 1;
  PartTimes times;
  double up_to_exit = 0, body = 0;
  const double least_head =
      places == 0 ? 0 : std::max((least.back() - plain) / static_cast<double>(places), 0.0);
  for (std::size_t k = 0; k < heads; ++k) {
    const std::size_t place = k * places / heads;
    const double here =
        std::clamp(least[place] - static_cast<double>(place + 1) * least_head, body, plain);
    times.body.push_back(here);
    times.head.push_back(std::max(every[k] - up_to_exit - (here - body), 0.0));
    up_to_exit = every[k];
    body = here;
  }
  times.body.push_back(plain);
  times.head.push_back(0);
  return times;
}

}  // namespace offramp::workflow
