#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace offramp::policy {

inline constexpr double kLowestTemperature = 0.01, kHighestTemperature = 100;

/// Returns the temperature T that minimises the mean negative log-likelihood of softmax(z / T) on
/// labelled images (Guo et al., 2017). That function is convex in 1 / T, so it has one minimum.
/// If it lies outside [kLowestTemperature, kHighestTemperature], as when every image is classified
/// correctly or the logits are no better than chance, the nearer bound is returned. If all
/// temperatures are equally good (one class, or all logits equal), 1 is returned.
/// @param logits  [N, classes]; images with a value that is not finite are skipped
/// @param labels  [N] in [0, classes)
/// @throws Error if a label is no class, or there is no image
double fit_temperature(std::span<const float> logits, std::span<const std::int64_t> labels);

/// Returns the weights of the K exits that maximise the likelihood of the weighted mean of their
/// probabilities (the proportions of a mixture). Each weight is at least 0.001, and they sum to 1.
/// @param label_probability  [K, N] the probability that each exit gives the label
std::vector<double> fit_ensemble_weights(std::span<const double> label_probability, int exits);

}  // namespace offramp::policy
