#include "workflow/report_speed.h"

#include <algorithm>
#include <chrono>

#include "core/numbers.h"
#include "workflow/selected_images.h"

namespace offramp::workflow {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMostImages = 256;
constexpr std::size_t kMostAlone = 64;  // number of images that are timed one at a time
constexpr int kMostRounds = 5;
constexpr double kSeconds = 0.5;  // time after which no further round begins

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Returns images spread evenly over the set. [n, C, H, W]
std::vector<float> some_images(const EvaluationSet& set) {
  return normalised_images(*set.data, take_evenly(set.indices, kMostImages), *set.preprocessing);
}

}  // namespace

std::vector<report::SpeedRow> measure_speed(core::Predictor& predictor, const EvaluationSet& set,
                                            const std::vector<TimedPolicy>& policies) {
  const std::vector<float> images = some_images(set);
  const auto size = static_cast<std::size_t>(predictor.image_size());
  const std::size_t count = images.size() / size;
  const auto time = [&](std::span<const float> some, const policy::Policy& policy) {
    const auto start = Clock::now();
    run_batch_with_policy(predictor, some, policy);
    return seconds_since(start);
  };
  std::vector<std::vector<double>> alone(policies.size()), together(policies.size());
  // The first runs compile the network for batches and fill the caches; they are not counted.
  for (const TimedPolicy& one : policies) {
    time(std::span(images).first(size), one.policy);
    time(images, one.policy);
  }
  auto start = Clock::now();
  for (std::size_t i = 0; i < std::min(count, kMostAlone); ++i) {
    for (std::size_t p = 0; p < policies.size(); ++p)
      alone[p].push_back(time(std::span(images).subspan(i * size, size), policies[p].policy));
    if (seconds_since(start) > kSeconds) break;
  }
  start = Clock::now();
  for (int round = 0; round < kMostRounds; ++round) {
    for (std::size_t p = 0; p < policies.size(); ++p)
      together[p].push_back(time(images, policies[p].policy));
    if (seconds_since(start) > kSeconds) break;
  }
  std::vector<report::SpeedRow> rows;
  for (std::size_t p = 0; p < policies.size(); ++p)
    rows.push_back({policies[p].name, 1000 * core::median(alone[p]),
                    static_cast<double>(count) / core::median(together[p]),
                    policies[p].relative_cost});
  return rows;
}

}  // namespace offramp::workflow
