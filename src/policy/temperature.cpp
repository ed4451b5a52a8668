#include "policy/temperature.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "core/error.h"
#include "policy/class_math.h"

namespace offramp::policy {
namespace {

// The first and second derivative of the negative log-likelihood with respect to b = 1 / T, summed
// over the images: E_p[z] - z_label and Var_p[z].
struct Slope {
  double first = 0, second = 0;
};

Slope slope_at(double b, std::span<const float> logits, std::span<const std::int64_t> labels) {
  const std::size_t classes = logits.size() / labels.size();
  Slope slope;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto z = logits.subspan(i * classes, classes);
    const double largest = z[detail::first_largest(z)];
    const detail::Moments m = detail::moments(z, largest, b);
    const double mean = m.first / m.sum;
    const double first = mean - (z[static_cast<std::size_t>(labels[i])] - largest);
    if (!std::isfinite(first)) continue;  // one of the logits is not finite
    slope.first += first;
    slope.second += m.second / m.sum - mean * mean;
  }
  return slope;
}

void check_labels(std::span<const float> logits, std::span<const std::int64_t> labels) {
  if (labels.empty()) throw Error("no image to fit a temperature on");
  if (logits.empty() || logits.size() % labels.size() != 0)
    throw Error(fmt::format("{} logits do not fit {} labels", logits.size(), labels.size()));
  const auto classes = static_cast<std::int64_t>(logits.size() / labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (labels[i] < 0 || labels[i] >= classes)
      throw Error(fmt::format("label {} of image index {} is out of range for {} classes",
                              labels[i], i, classes));
}

constexpr double kLeastWeight = 1e-3;

// Scales non-negative weights to the sum 1 and raises those below kLeastWeight to it.
void normalise_weights(std::vector<double>& weights) {
  std::vector<bool> lifted(weights.size());
  for (bool changed = true; changed;) {
    double free_mass = 1, sum = 0;
    for (std::size_t e = 0; e < weights.size(); ++e)
      (lifted[e] ? free_mass : sum) += lifted[e] ? -kLeastWeight : weights[e];
    changed = false;
    for (std::size_t e = 0; e < weights.size(); ++e) {
      if (lifted[e]) continue;
      weights[e] *= free_mass / sum;
      if (weights[e] >= kLeastWeight) continue;
      weights[e] = kLeastWeight;
      lifted[e] = changed = true;
    }
  }
}

}  // namespace

double fit_temperature(std::span<const float> logits, std::span<const std::int64_t> labels) {
  check_labels(logits, labels);
  double low = 1 / kHighestTemperature, high = 1 / kLowestTemperature;
  const double at_low = slope_at(low, logits, labels).first;
  const double at_high = slope_at(high, logits, labels).first;
  if (at_low == 0 && at_high == 0) return 1;  // the function is convex, so it is constant
  if (at_low >= 0) return kHighestTemperature;
  if (at_high <= 0) return kLowestTemperature;
  double b = 1;
  // Newton's method; where a step would leave the bracket [low, high], the bracket is halved
  // instead.
  for (int i = 0; i < 200 && high - low > 1e-12 * high; ++i) {
    const Slope slope = slope_at(b, logits, labels);
    (slope.first < 0 ? low : high) = b;
    const double next = slope.second > 0 ? b - slope.first / slope.second : 0.5 * (low + high);
    // Newton's method has converged if the step is tiny. This test comes before the test against
    // the bracket: b is now one end of it, and a step too small to change b must not halve the
    // bracket.
    if (slope.second > 0 && std::abs(next - b) <= 1e-8 * b) return 1 / next;
    b = next > low && next < high ? next : 0.5 * (low + high);
  }
  return 1 / b;
}

std::vector<double> fit_ensemble_weights(std::span<const double> label_probability, int exits) {
  const auto k = static_cast<std::size_t>(exits);
  OFFRAMP_ASSERT(exits >= 1 && !label_probability.empty() && label_probability.size() % k == 0);
  const std::size_t images = label_probability.size() / k;
  const auto given = [&](std::size_t e, std::size_t i) {
    return label_probability[e * images + i];
  };
  const auto mixed = [&](const std::vector<double>& weights, std::size_t i) {
    double total = 0;
    for (std::size_t e = 0; e < k; ++e) total += weights[e] * given(e, i);
    return total;
  };
  // An image to whose label every exit gives the probability 0 is skipped: it carries no
  // information about the weights.
  const auto log_likelihood = [&](const std::vector<double>& weights) {
    double sum = 0;
    for (std::size_t i = 0; i < images; ++i)
      if (const double total = mixed(weights, i); total > 0) sum += std::log(total);
    return sum;
  };
  const auto maximise = [&](const std::vector<double>& weights) {
    std::vector<double> next(k, 0.0);
    double counted = 0;
    for (std::size_t i = 0; i < images; ++i) {
      const double total = mixed(weights, i);
      if (!(total > 0)) continue;
      ++counted;
      for (std::size_t e = 0; e < k; ++e) next[e] += weights[e] * given(e, i) / total;
    }
    if (counted == 0) return weights;
    normalise_weights(next);
    return next;
  };

  // Exits agree on most images, so plain expectation maximisation converges slowly. Its steps are
  // extrapolated (SQUAREM, Varadhan, Roland, 2008) unless that lowers the likelihood.
  std::vector<double> weights(k, 1.0 / static_cast<double>(k));
  for (int round = 0; round < 500; ++round) {
    const std::vector<double> once = maximise(weights), twice = maximise(once);
    double first = 0, second = 0;
    for (std::size_t e = 0; e < k; ++e) {
      const double r = once[e] - weights[e], v = (twice[e] - once[e]) - r;
      first += r * r;
      second += v * v;
    }
    if (first < 1e-24) break;
    const double step_length = second > 0 ? std::max(1.0, std::sqrt(first / second)) : 1.0;
    std::vector<double> extrapolated(k);
    for (std::size_t e = 0; e < k; ++e) {
      const double r = once[e] - weights[e], v = (twice[e] - once[e]) - r;
      extrapolated[e] =
          std::max(0.0, weights[e] + 2 * step_length * r + step_length * step_length * v);
    }
    normalise_weights(extrapolated);
    extrapolated = maximise(extrapolated);
    weights = log_likelihood(extrapolated) >= log_likelihood(twice) ? extrapolated : twice;
  }
  return weights;
}

}  // namespace offramp::policy
