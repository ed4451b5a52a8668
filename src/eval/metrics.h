#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/overthinking.h"
#include "policy/logits.h"

namespace offramp::eval {

/// The 97.5 % quantile of the standard normal distribution, which a two-sided 95 % interval uses.
inline constexpr double kNormalQuantile975 = 1.959963984540054;

struct Interval {
  double low = 0, high = 0;
};
/// Returns Wilson's 95 % interval for the rate successes / n (Wilson, 1927). @param n  above 0
Interval wilson(std::int64_t successes, std::int64_t n);

/// Returns a 95 % interval for the difference of two rates that were measured on the same n images:
/// Wald's interval with 1 added to both counts (Bonett, Price, 2012).
/// @param gained, lost  images that count only for the first rate, and only for the second
/// @param n  above 0
Interval paired_difference(std::int64_t gained, std::int64_t lost, std::int64_t n);
/// Returns the standard error of that difference, on which the interval is based. It is above 0
/// also where no image was gained or lost.
double paired_standard_error(std::int64_t gained, std::int64_t lost, std::int64_t n);

/// The metrics of one exit.
struct ExitMetrics {
  double accuracy = 0;
  Interval accuracy_interval;
  double nll = 0;  ///< mean negative log-likelihood in nats
  double ece = 0;  ///< expected calibration error with 15 bins of equal width
  /// Number of images that are classified correctly with a confidence above each of
  /// kConfidenceLevels.
  std::array<std::int64_t, 3> confident_and_correct{};
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
  std::vector<EnsembleMetrics> ensembles;  ///< ensembles of all exits, one of each kind
  OverthinkingCounts overthinking;         ///< counts over all images
};

/// Checks logits and labels.
/// @throws Error if sizes do not match, a label is out of range, a logit is not finite, or there is
/// no image
void check(const policy::LogitsView& view);

/// Computes all metrics that need only logits and labels.
/// @param weights  [K] weights of the weighted ensemble, non-negative and not all 0
/// @throws Error if sizes do not match, a label is out of range, a logit is not finite, or there is
/// no image
Metrics measure(const policy::LogitsView& view, std::span<const double> weights);

/// Returns [classes, classes] the number of images by label (row) and predicted class (column).
std::vector<std::int64_t> confusion_matrix(const policy::LogitsView& view, int exit_index);

}  // namespace offramp::eval
