#include "policy/cross_validate.h"

#include <algorithm>
#include <cstddef>

#include "core/error.h"
#include "core/parallel.h"

namespace offramp::policy {
namespace {

// With fewer scores than this, starting threads takes longer than computing the paths.
constexpr std::size_t kManyScores = 50'000;

// The scores and their evaluation for all images.
struct AllImages {
  const ExitPredictions& exit_predictions;
  std::span<const std::uint8_t> correct, harmless;
  std::span<const double> costs;
};

// A copy of the scores and their evaluation for some of the images.
class ImageSubset {
 public:
  ImageSubset(const AllImages& all_images, const std::vector<std::size_t>& images)
      : exits_(all_images.exit_predictions.exits),
        images_(images.size()),
        costs_(all_images.costs) {
    const auto all = static_cast<std::size_t>(all_images.exit_predictions.images);
    for (std::size_t k = 0; k < costs_.size(); ++k)
      for (const std::size_t i : images) {
        scores_.push_back(all_images.exit_predictions.scores[k * all + i]);
        correct_.push_back(all_images.correct[k * all + i]);
        harmless_.push_back(all_images.harmless[k * all + i]);
      }
  }
  double images() const { return static_cast<double>(images_); }
  ExitTable by_label() const { return table(correct_); }
  ExitTable by_harm() const { return table(harmless_); }

 private:
  ExitTable table(std::span<const std::uint8_t> good) const {
    return {exits_, static_cast<std::int64_t>(images_), scores_, good, costs_};
  }

  int exits_;
  std::size_t images_;
  std::span<const double> costs_;
  std::vector<float> scores_;
  std::vector<std::uint8_t> correct_, harmless_;
};

// Returns, for each mean cost, how many images of one fold are classified correctly at that cost by
// the path that is chosen on the images of all other folds.
std::vector<double> correct_in_fold(const AllImages& all_images,
                                    const std::vector<double>& mean_costs, std::size_t fold,
                                    std::size_t folds) {
  std::vector<std::size_t> inside, outside;
  for (std::size_t i = 0; i < static_cast<std::size_t>(all_images.exit_predictions.images); ++i)
    (i % folds == fold ? inside : outside).push_back(i);
  const ImageSubset outside_fold(all_images, outside), in_fold(all_images, inside);
  const std::vector<Thresholds> path = greedy_threshold_path(outside_fold.by_harm(), kPathLevels);
  const std::vector<ThresholdOutcome> on_outside_fold =
      evaluate_threshold_path(outside_fold.by_label(), path);
  const std::vector<ThresholdOutcome> on_fold = evaluate_threshold_path(in_fold.by_label(), path);
  const auto cost = [&](std::size_t step) {
    return on_outside_fold[step].total_cost / outside_fold.images();
  };
  const auto correct = [&](std::size_t step) { return static_cast<double>(on_fold[step].good); };
  std::vector<double> result;
  // The first step that costs at most `wanted`; costs decrease along the path.
  std::size_t step = 0;
  for (const double wanted : mean_costs) {
    while (cost(step) > wanted && step + 1 < path.size()) ++step;
    double here = correct(step);
    if (step > 0 && cost(step) < wanted) {
      const double before = (wanted - cost(step)) / (cost(step - 1) - cost(step));
      here += before * (correct(step - 1) - here);
    }
    result.push_back(here);
  }
  return result;
}

}  // namespace

CrossValidatedPath cross_validate(const ExitPredictions& exit_predictions,
                                  std::span<const std::uint8_t> correct,
                                  std::span<const std::uint8_t> harmless,
                                  std::span<const double> costs, int max_threads) {
  OFFRAMP_ASSERT(exit_predictions.images > 0 &&
                 costs.size() == static_cast<std::size_t>(exit_predictions.exits));
  OFFRAMP_ASSERT(correct.size() == exit_predictions.scores.size() &&
                 harmless.size() == correct.size());
  OFFRAMP_ASSERT(std::ranges::is_sorted(costs));
  const AllImages all_images{exit_predictions, correct, harmless, costs};
  CrossValidatedPath path;
  path.fitted = evaluate_threshold_path(
      {exit_predictions.exits, exit_predictions.images, exit_predictions.scores, correct, costs},
      greedy_threshold_path({exit_predictions.exits, exit_predictions.images,
                             exit_predictions.scores, harmless, costs},
                            kPathLevels));
  const std::size_t folds =
      std::min<std::size_t>(kFolds, static_cast<std::size_t>(exit_predictions.images));
  if (folds < 2) return path;

  std::vector<double> mean_costs;
  for (const ThresholdOutcome& step : path.fitted)
    mean_costs.push_back(step.total_cost / static_cast<double>(exit_predictions.images));
  std::vector<std::vector<double>> of_folds(folds);
  core::parallel_for(
      folds,
      [&](std::size_t fold) {
        of_folds[fold] = correct_in_fold(all_images, mean_costs, fold, folds);
      },
      exit_predictions.scores.size() < kManyScores ? 1 : max_threads);
  path.cross_validated_correct.resize(path.fitted.size());
  for (const std::vector<double>& of_fold : of_folds)
    for (std::size_t step = 0; step < of_fold.size(); ++step)
      path.cross_validated_correct[step] += of_fold[step];
  return path;
}

std::optional<std::size_t> cheapest_accurate_step(const CrossValidatedPath& path,
                                                  std::int64_t least_correct) {
  const auto keeps = [&](std::size_t step) {
    // The tolerance allows for rounding: counts are sums of fractions of images.
    return path.fitted[step].good >= least_correct &&
           (path.cross_validated_correct.empty() ||
            path.cross_validated_correct[step] >= static_cast<double>(least_correct) - 1e-6);
  };
  std::optional<std::size_t> boldest;
  for (std::size_t step = 0; step < path.fitted.size(); ++step) {
    if (!keeps(step)) {
      if (boldest) break;
      continue;
    }
    if (!boldest || path.fitted[step].total_cost < path.fitted[*boldest].total_cost) boldest = step;
  }
  return boldest;
}

std::optional<std::size_t> most_accurate_step(const CrossValidatedPath& path, std::int64_t images,
                                              double most_cost) {
  const auto correct = [&](std::size_t step) {
    return path.cross_validated_correct.empty() ? static_cast<double>(path.fitted[step].good)
                                                : path.cross_validated_correct[step];
  };
  // The tolerance allows for rounding.
  const double most = most_cost * static_cast<double>(images) * (1 + 1e-12);
  std::optional<std::size_t> best;
  // Costs do not rise along the path, so a later step is not more expensive.
  for (std::size_t step = 0; step < path.fitted.size(); ++step)
    if (path.fitted[step].total_cost <= most && (!best || correct(step) >= correct(*best)))
      best = step;
  return best;
}

}  // namespace offramp::policy
