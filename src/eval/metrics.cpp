#include "eval/metrics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/error.h"
#include "eval/reliability.h"
#include "policy/policy.h"

namespace offramp::eval {
namespace {

void check_weights(std::span<const double> weights, int exits) {
  if (weights.size() != static_cast<std::size_t>(exits))
    throw Error(fmt::format("ensemble weights: got {}, expected {}: one for each exit",
                            weights.size(), exits));
  double sum = 0;
  for (double weight : weights) {
    if (!std::isfinite(weight) || weight < 0)
      throw Error(
          fmt::format("ensemble weights: expected finite numbers of at least 0, got {}", weight));
    sum += weight;
  }
  if (!(sum > 0)) throw Error("ensemble weights: all are 0");
}

std::size_t largest_index(std::span<const double> values) {
  return static_cast<std::size_t>(std::ranges::max_element(values) - values.begin());
}

/// The sums over the images from which the metrics of one exit are computed.
struct ExitSums {
  std::int64_t correct = 0;
  double nll = 0;
  Reliability reliability;
  std::array<std::int64_t, 3> confident_and_correct{};

  void add(double p_answer, bool is_correct, double log_p_label) {
    correct += is_correct;
    nll -= log_p_label;
    reliability.add(p_answer, is_correct);
    for (std::size_t i = 0; i < kConfidenceLevels.size(); ++i)
      confident_and_correct[i] += is_correct && p_answer > kConfidenceLevels[i];
  }

  ExitMetrics result(std::int64_t images) const {
    const auto n = static_cast<double>(images);
    ExitMetrics metrics;
    metrics.accuracy = static_cast<double>(correct) / n;
    metrics.accuracy_interval = wilson(correct, images);
    metrics.nll = nll / n;
    metrics.ece = reliability.error();
    metrics.confident_and_correct = confident_and_correct;
    return metrics;
  }
};

}  // namespace

void check(const policy::LogitsView& view) {
  if (view.exits < 1)
    throw Error(fmt::format("expected logits of at least 1 exit, got {}", view.exits));
  if (view.classes < 1)
    throw Error(fmt::format("expected logits of at least 1 class, got {}", view.classes));
  if (view.labels.empty()) throw Error("no image to evaluate");
  std::size_t expected = 0;
  if (__builtin_mul_overflow(static_cast<std::size_t>(view.exits), view.labels.size(), &expected) ||
      __builtin_mul_overflow(expected, static_cast<std::size_t>(view.classes), &expected) ||
      expected != view.logits.size())
    throw Error(fmt::format("{} logits do not fit {} exits, {} images and {} classes",
                            view.logits.size(), view.exits, view.labels.size(), view.classes));
  for (std::size_t i = 0; i < view.labels.size(); ++i)
    if (view.labels[i] < 0 || view.labels[i] >= view.classes)
      throw Error(fmt::format("label {} of image index {} is out of range for {} classes",
                              view.labels[i], i, view.classes));
  const auto bad = std::ranges::find_if_not(view.logits, [](float z) { return std::isfinite(z); });
  if (bad != view.logits.end()) {
    const auto row = static_cast<std::size_t>(bad - view.logits.begin()) /
                     static_cast<std::size_t>(view.classes);
    throw Error(fmt::format("exit {}: a logit of image index {} is not finite: {}",
                            row / view.labels.size() + 1, row % view.labels.size(), *bad));
  }
}

Interval wilson(std::int64_t successes, std::int64_t n) {
  OFFRAMP_ASSERT(n > 0 && successes >= 0 && successes <= n);
  const auto count = static_cast<double>(n);
  const double rate = static_cast<double>(successes) / count;
  const double z2 = kNormalQuantile975 * kNormalQuantile975;
  const double middle = rate + z2 / (2 * count);
  const double half =
      kNormalQuantile975 * std::sqrt(rate * (1 - rate) / count + z2 / (4 * count * count));
  const double scale = 1 + z2 / count;
  // At these ends the formula gives 0 or 1 only up to rounding.
  return {successes == 0 ? 0.0 : (middle - half) / scale,
          successes == n ? 1.0 : (middle + half) / scale};
}

double paired_standard_error(std::int64_t gained, std::int64_t lost, std::int64_t n) {
  OFFRAMP_ASSERT(n > 0 && gained >= 0 && lost >= 0 && gained + lost <= n);
  const double total = static_cast<double>(n) + 2;
  const double a = (static_cast<double>(gained) + 1) / total;
  const double b = (static_cast<double>(lost) + 1) / total;
  return std::sqrt((a + b - (a - b) * (a - b)) / total);
}

Interval paired_difference(std::int64_t gained, std::int64_t lost, std::int64_t n) {
  OFFRAMP_ASSERT(n > 0 && gained >= 0 && lost >= 0 && gained + lost <= n);
  const double total = static_cast<double>(n) + 2;
  const double a = (static_cast<double>(gained) + 1) / total;
  const double b = (static_cast<double>(lost) + 1) / total;
  const double half = kNormalQuantile975 * paired_standard_error(gained, lost, n);
  return {std::max(-1.0, a - b - half), std::min(1.0, a - b + half)};
}

Metrics measure(const policy::LogitsView& view, std::span<const double> weights) {
  check(view);
  check_weights(weights, view.exits);
  const auto exits = static_cast<std::size_t>(view.exits);
  const auto classes = static_cast<std::size_t>(view.classes);

  std::vector<ExitSums> sums(exits);
  std::array<std::vector<double>, 3> ensemble_sums;  // [classes] sums for each kind of ensemble
  for (auto& scores : ensemble_sums) scores.resize(classes);
  std::array<std::int64_t, 3> ensemble_correct{};
  std::vector<double> p(classes);

  for (std::int64_t image = 0; image < view.images(); ++image) {
    const auto label = static_cast<std::size_t>(view.labels[static_cast<std::size_t>(image)]);
    for (auto& scores : ensemble_sums) std::ranges::fill(scores, 0.0);

    for (std::size_t exit = 0; exit < exits; ++exit) {
      const auto z = view.at(static_cast<int>(exit), image);
      const auto answer = static_cast<std::size_t>(policy::argmax(z));
      const double largest = z[answer];
      double total = 0;
      for (std::size_t c = 0; c < classes; ++c) total += p[c] = std::exp(z[c] - largest);
      const double log_total = std::log(total);
      for (std::size_t c = 0; c < classes; ++c) {
        p[c] /= total;
        ensemble_sums[0][c] += p[c];
        ensemble_sums[1][c] += z[c] - largest - log_total;
        ensemble_sums[2][c] += weights[exit] * p[c];
      }
      sums[exit].add(p[answer], answer == label, z[label] - largest - log_total);
    }
    for (std::size_t kind = 0; kind < ensemble_sums.size(); ++kind)
      ensemble_correct[kind] += largest_index(ensemble_sums[kind]) == label;
  }

  Metrics metrics;
  metrics.images = view.images();
  for (const ExitSums& exit : sums) metrics.exits.push_back(exit.result(metrics.images));
  const auto n = static_cast<double>(metrics.images);
  constexpr std::array kKinds = {EnsembleKind::mean, EnsembleKind::geometric,
                                 EnsembleKind::weighted};
  for (std::size_t kind = 0; kind < kKinds.size(); ++kind)
    metrics.ensembles.push_back({kKinds[kind], static_cast<double>(ensemble_correct[kind]) / n,
                                 wilson(ensemble_correct[kind], metrics.images)});
  metrics.overthinking = sum_of_counts(overthinking_by_class(view));
  return metrics;
}

std::vector<std::int64_t> confusion_matrix(const policy::LogitsView& view, int exit_index) {
  check(view);
  OFFRAMP_ASSERT(exit_index >= 0 && exit_index < view.exits);
  const auto classes = static_cast<std::size_t>(view.classes);
  std::vector<std::int64_t> counts(classes * classes);
  for (std::int64_t image = 0; image < view.images(); ++image) {
    const auto label = static_cast<std::size_t>(view.labels[static_cast<std::size_t>(image)]);
    const auto answer = static_cast<std::size_t>(policy::argmax(view.at(exit_index, image)));
    ++counts[label * classes + answer];
  }
  return counts;
}

}  // namespace offramp::eval
