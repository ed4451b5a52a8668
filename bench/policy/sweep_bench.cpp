// Times a full sweep of 4 criteria × 4 ensembles × 1,000 thresholds, chosen and replayed on the
// same logits by the functions that `offramp test --sweep` calls. Temperatures and weights are
// given, not fitted. It ends with status 1 if the peak of the resident memory is above twice the
// size of the logits.
//
//   sweep_bench [exits images classes threads rounds], by default 8 50000 100 0 (all cores) 5
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/random.h"
#include "eval/sweep.h"

namespace {

using namespace offramp;

constexpr std::array kCriteria = {policy::Criterion::confidence, policy::Criterion::entropy,
                                  policy::Criterion::margin, policy::Criterion::patience};
constexpr std::array kEnsembles = {policy::Ensemble::off, policy::Ensemble::mean,
                                   policy::Ensemble::geometric, policy::Ensemble::weighted};
constexpr int kThresholds = 1000;

// The logit of the label is larger at later exits; the noise is roughly normal.
std::vector<float> plausible_logits(int exits, std::span<const std::int64_t> labels, int classes) {
  std::vector<float> logits;
  logits.reserve(static_cast<std::size_t>(exits) * labels.size() *
                 static_cast<std::size_t>(classes));
  for (int k = 0; k < exits; ++k)
    for (std::size_t i = 0; i < labels.size(); ++i) {
      core::KeyedRandom random(1, static_cast<std::uint64_t>(k), i);
      for (int c = 0; c < classes; ++c) {
        const float noise = random.uniform(-2, 2) + random.uniform(-2, 2);
        logits.push_back(noise + (c == labels[i] ? 3 + 0.5f * static_cast<float>(k) : 0.0f));
      }
    }
  return logits;
}

policy::Policy shape_of(policy::Ensemble ensemble, int exits) {
  policy::Policy shape = policy::never_stop(exits);
  shape.ensemble = ensemble;
  std::ranges::fill(shape.temperatures, 1.3f);
  if (ensemble == policy::Ensemble::weighted)
    shape.ensemble_weights.assign(static_cast<std::size_t>(exits), 1 / static_cast<float>(exits));
  return shape;
}

double peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int at, int otherwise) {
    return argc > at ? std::atoi(argv[at]) : otherwise;
  };
  const int exits = argument(1, 8), images = argument(2, 50000), classes = argument(3, 100);
  const int threads = argument(4, 0), rounds = argument(5, 5);

  std::vector<std::int64_t> labels;
  labels.reserve(static_cast<std::size_t>(images));
  for (int i = 0; i < images; ++i) labels.push_back(i % classes);
  const std::vector<float> logits = plausible_logits(exits, labels, classes);
  const policy::LogitsView view{logits, labels, exits, classes};
  std::vector<double> costs;
  for (int k = 1; k <= exits; ++k) costs.push_back(static_cast<double>(k) / exits);
  const double before = peak_bytes();

  std::vector<double> seconds;
  std::size_t points = 0;
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    points = 0;
    for (const policy::Ensemble ensemble : kEnsembles) {
      const policy::Policy shape = shape_of(ensemble, exits);
      const auto thresholds = eval::sweep_thresholds(shape, kCriteria, view, kThresholds, threads);
      for (const eval::Curve& curve :
           eval::sweep(shape, kCriteria, thresholds, view, costs, threads)) {
        points += curve.points.size();
        for (const eval::SweepPoint& point : curve.points) best = std::max(best, point.accuracy);
      }
    }
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::ranges::sort(seconds);
  const double bytes = static_cast<double>(logits.size()) * sizeof(float), peak = peak_bytes();
  fmt::print(
      "{} exits × {} images × {} classes: {} points, best accuracy {:.4f}\n"
      "median {:.2f} s, fastest {:.2f} s, slowest {:.2f} s of {} sweeps\n"
      "logits {:.1f} MB, peak {:.1f} MB ({:.2f}×), of which before the sweep {:.1f} MB\n",
      exits, images, classes, points, best, seconds[seconds.size() / 2], seconds.front(),
      seconds.back(), rounds, bytes / 1e6, peak / 1e6, peak / bytes, before / 1e6);
  return peak <= 2 * bytes ? 0 : 1;
}
