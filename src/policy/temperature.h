#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace offramp {

inline constexpr double kLowestTemperature = 0.01, kHighestTemperature = 100;

/// The temperature that minimises the mean negative log-likelihood of softmax(z / T) on labelled
/// images (Guo et al., 2017). It is convex in 1 / T, so there is one minimum; where it lies at no
/// temperature (every image right, or no better than chance) the nearer bound; 1 where all are
/// alike (one class, logits all equal).
/// @param logits  [N, classes]; images with a value that is not finite are left out
/// @param labels  [N] in [0, classes)
double fit_temperature(std::span<const float> logits, std::span<const std::int64_t> labels);

/// Weights of the exits that maximise the likelihood of the weighted mean of all K exits, the
/// proportions of a mixture; none below 0.001, sum 1.
/// @param label_probability  [K, N] what each exit gives the label
std::vector<double> fit_ensemble_weights(std::span<const double> label_probability, int exits);

}  // namespace offramp
