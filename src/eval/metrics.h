#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/overthinking.h"
#include "policy/logits.h"

namespace offramp {

/// The quantile of the normal distribution that a two-sided 95 % interval takes.
inline constexpr double kNormalQuantile975 = 1.959963984540054;

struct Interval {
  double low = 0, high = 0;
};
/// Wilson's 95 % interval for a rate of successes / n (Wilson, 1927). n > 0.
Interval wilson(std::int64_t successes, std::int64_t n);

/// 95 % interval for the difference of two rates measured on the same n images, of which `gained`
/// count for the first alone and `lost` for the second alone: Wald's with one added to each of both
/// (Bonett, Price, 2012). n > 0.
Interval paired_difference(std::int64_t gained, std::int64_t lost, std::int64_t n);

struct ExitMetrics {
  double accuracy = 0;
  Interval accuracy_interval;
  double nll = 0;  ///< mean negative log-likelihood, nats
  double ece = 0;  ///< expected calibration error, 15 equal-width bins of the confidence
  /// Images named correctly with confidence above 0.9, 0.99, 0.999.
  std::array<std::int64_t, 3> confident_and_right{};
};
inline constexpr std::array<double, 3> kConfidenceLevels = {0.9, 0.99, 0.999};

enum class EnsembleKind { mean, geometric, weighted };
struct EnsembleMetrics {
  EnsembleKind kind = EnsembleKind::mean;
  double accuracy = 0;
  Interval accuracy_interval;
};

struct Metrics {
  std::int64_t images = 0;
  std::vector<ExitMetrics> exits;
  std::vector<EnsembleMetrics> ensembles;  ///< of all exits
  OverthinkingCounts overthinking;         ///< over all images
};

/// @throws Error if sizes do not fit, a label is out of range, a logit is not finite, or there is
/// no image
void check(const LogitsView& view);

/// Measures everything that needs only logits and labels.
/// @param weights  [K] of the weighted ensemble, non-negative, not all zero
/// @throws Error if sizes do not fit, a label is out of range, a logit is not finite, or there is
/// no image
Metrics measure(const LogitsView& view, std::span<const double> weights);

/// [classes, classes] counts, rows the label, columns the answer.
std::vector<std::int64_t> confusion_matrix(const LogitsView& view, int exit_index);

}  // namespace offramp
