#include "workflow/calibration_warnings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/error.h"
#include "core/text.h"
#include "eval/metrics.h"
#include "policy/temperature.h"

namespace offramp::workflow {
namespace {

std::string percent(double rate) { return fmt::format("{:.2f} %", 100 * rate); }

/// The images [N] that an exit alone classifies correctly.
std::vector<bool> correct_images(const policy::LogitsView& view, int exit_index) {
  std::vector<bool> correct;
  for (std::int64_t i = 0; i < view.images(); ++i)
    correct.push_back(policy::argmax(view.at(exit_index, i)) ==
                      view.labels[static_cast<std::size_t>(i)]);
  return correct;
}

/// The number of images of the most frequent class.
std::int64_t most_frequent(const policy::LogitsView& view) {
  std::vector<std::int64_t> images(static_cast<std::size_t>(view.classes));
  for (const std::int64_t label : view.labels) ++images[static_cast<std::size_t>(label)];
  return std::ranges::max(images);
}

/// 1 / images, rounded up to three digits.
double smallest_visible(std::int64_t images) {
  const auto n = static_cast<double>(images);
  const double scale = std::pow(10, std::ceil(std::log10(n)) + 2);
  return std::ceil(scale / n - 1e-9) / scale;
}

}  // namespace

void check_visible(const policy::Aim& aim, std::int64_t tune_images) {
  const auto* drop = std::get_if<policy::AccuracyDrop>(&aim);
  if (drop == nullptr || drop->max_drop == 0) return;
  if (drop->max_drop * static_cast<double>(tune_images) >= 1 - 1e-9) return;
  throw UsageError(
      fmt::format("max_drop: {} is less than one of the {} tune images; ask for at least {:g} or "
                  "train with more images",
                  drop->max_drop, core::with_commas(tune_images), smallest_visible(tune_images)));
}

std::vector<std::string> calibration_warnings(const policy::Aim& aim, const policy::Policy& policy,
                                              const policy::LogitsView& tune,
                                              double standard_error) {
  std::vector<std::string> warnings;
  const std::int64_t images = tune.images();
  const auto n = static_cast<double>(images);
  const auto* drop = std::get_if<policy::AccuracyDrop>(&aim);
  if (drop && drop->max_drop > 0 && drop->max_drop < standard_error)
    warnings.push_back(fmt::format(
        "a drop of {:.2f} points is below the standard error of {:.2f} points that {} tune images "
        "give: chance may decide whether the aim is met",
        100 * drop->max_drop, 100 * standard_error, core::with_commas(images)));
  for (std::size_t k = 0; k < policy.temperatures.size(); ++k)
    if (const float t = policy.temperatures[k];
        t == static_cast<float>(policy::kLowestTemperature) ||
        t == static_cast<float>(policy::kHighestTemperature))
      warnings.push_back(fmt::format(
          "the temperature of exit {} is {:g}, the end of the range that is searched: its "
          "probabilities do not describe how often it is correct",
          k + 1, t));
  std::vector<std::vector<bool>> correct;
  std::vector<std::int64_t> counts;
  for (int k = 0; k < tune.exits; ++k) {
    correct.push_back(correct_images(tune, k));
    counts.push_back(std::ranges::count(correct.back(), true));
  }
  const std::size_t last = counts.size() - 1;
  const auto best = static_cast<std::size_t>(std::ranges::max_element(counts) - counts.begin());
  if (counts[best] > counts[last]) {
    std::int64_t gained = 0, lost = 0;
    for (std::size_t i = 0; i < correct[last].size(); ++i) {
      gained += correct[best][i] && !correct[last][i];
      lost += !correct[best][i] && correct[last][i];
    }
    warnings.push_back(fmt::format(
        "the last exit is less accurate on tune than exit {}: {} and {} (standard error of the "
        "difference: {:.2f} points)",
        best + 1, percent(static_cast<double>(counts[last]) / n),
        percent(static_cast<double>(counts[best]) / n),
        100 * eval::paired_standard_error(gained, lost, images)));
  }
  const double most = static_cast<double>(most_frequent(tune)) / n;
  for (std::size_t k = 0; k < counts.size(); ++k)
    if (eval::wilson(counts[k], images).low <= most)
      warnings.push_back(fmt::format(
          "exit {} is useless on tune: its accuracy of {} is not measurably above the {} of always "
          "predicting the most frequent class{}",
          k + 1, percent(static_cast<double>(counts[k]) / n), percent(most),
          k < last ? "; drop_useless_exits removes exits whose heads cost more than they save"
                   : "; the network has hardly learnt: train it longer or on more images"));
  return warnings;
}

}  // namespace offramp::workflow
