#include "policy/temperature.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "core/error.h"

namespace offramp {
namespace {

// Derivatives of the mean negative log-likelihood by b = 1 / T: E_p[z] - z_label and Var_p[z].
struct Slope {
  double first = 0, second = 0;
};

Slope slope_at(double b, std::span<const float> logits, std::span<const std::int64_t> labels) {
  const std::size_t classes = logits.size() / labels.size();
  Slope slope;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto z = logits.subspan(i * classes, classes);
    if (!std::ranges::all_of(z, [](float value) { return std::isfinite(value); })) continue;
    const double largest = *std::ranges::max_element(z);
    double sum = 0, mean = 0, square = 0;
    for (const float value : z) {
      const double d = value - largest, e = std::exp(b * d);
      sum += e;
      mean += e * d;
      square += e * d * d;
    }
    mean /= sum;
    slope.first += mean - (z[static_cast<std::size_t>(labels[i])] - largest);
    slope.second += square / sum - mean * mean;
  }
  return slope;
}

}  // namespace

double fit_temperature(std::span<const float> logits, std::span<const std::int64_t> labels) {
  OFFRAMP_ASSERT(!labels.empty() && logits.size() % labels.size() == 0);
  double low = 1 / kHighestTemperature, high = 1 / kLowestTemperature;
  if (slope_at(low, logits, labels).first >= 0) return kHighestTemperature;
  if (slope_at(high, logits, labels).first <= 0) return kLowestTemperature;
  double b = 1;
  // Newton's steps, and a halving of the bracket where one would leave it.
  for (int i = 0; i < 200 && high - low > 1e-12 * high; ++i) {
    const Slope slope = slope_at(b, logits, labels);
    (slope.first < 0 ? low : high) = b;
    const double next = slope.second > 0 ? b - slope.first / slope.second : low;
    if (std::abs(next - b) <= 1e-12 * b) break;
    b = next > low && next < high ? next : 0.5 * (low + high);
  }
  return 1 / b;
}

std::vector<double> fit_ensemble_weights(std::span<const double> label_probability, int exits) {
  const auto k = static_cast<std::size_t>(exits);
  OFFRAMP_ASSERT(exits >= 1 && !label_probability.empty() && label_probability.size() % k == 0);
  const std::size_t images = label_probability.size() / k;
  constexpr double kLeast = 1e-3;
  constexpr int kRounds = 500;
  std::vector<double> weights(k, 1.0 / static_cast<double>(k)), next(k);
  for (int round = 0; round < kRounds; ++round) {
    std::ranges::fill(next, 0.0);
    for (std::size_t i = 0; i < images; ++i) {
      double total = 0;
      for (std::size_t e = 0; e < k; ++e) total += weights[e] * label_probability[e * images + i];
      if (!(total > 0)) continue;  // every exit gives the label nothing: no weight changes that
      for (std::size_t e = 0; e < k; ++e)
        next[e] += weights[e] * label_probability[e * images + i] / total;
    }
    const double sum = std::accumulate(next.begin(), next.end(), 0.0);
    if (!(sum > 0)) break;
    double moved = 0;
    for (std::size_t e = 0; e < k; ++e) {
      next[e] = std::max(next[e] / sum, kLeast);
      moved = std::max(moved, std::abs(next[e] - weights[e]));
    }
    weights = next;
    if (moved < 1e-9) break;
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= sum;
  return weights;
}

}  // namespace offramp
