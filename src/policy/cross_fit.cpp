#include "policy/cross_fit.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "core/error.h"
#include "policy/calibration.h"

namespace offramp {
namespace {

/// Some of the images of a table, copied.
struct Part {
  Part(const Judgements& judged, std::span<const std::uint8_t> right,
       std::span<const std::uint8_t> harmless, std::span<const double> exit_costs,
       const std::vector<std::size_t>& images)
      : exits(judged.exits), count(static_cast<std::int64_t>(images.size())), costs(exit_costs) {
    const auto all = static_cast<std::size_t>(judged.images);
    for (std::size_t k = 0; k < static_cast<std::size_t>(exits); ++k)
      for (const std::size_t i : images) {
        scores.push_back(judged.scores[k * all + i]);
        is_right.push_back(right[k * all + i]);
        is_harmless.push_back(harmless[k * all + i]);
      }
  }
  ExitTable by_label() const { return {exits, count, scores, is_right, costs}; }
  ExitTable by_harm() const { return {exits, count, scores, is_harmless, costs}; }

  int exits;
  std::int64_t count;
  std::vector<float> scores;
  std::vector<std::uint8_t> is_right, is_harmless;
  std::span<const double> costs;
};

}  // namespace

CrossFittedPath cross_fit(const Judgements& judged, std::span<const std::uint8_t> right,
                          std::span<const std::uint8_t> harmless, std::span<const double> costs) {
  OFFRAMP_ASSERT(right.size() == judged.scores.size() && harmless.size() == right.size());
  const ExitTable by_label{judged.exits, judged.images, judged.scores, right, costs};
  CrossFittedPath path;
  path.thresholds =
      bold_path({judged.exits, judged.images, judged.scores, harmless, costs}, kPathLevels);
  for (const Thresholds& thresholds : path.thresholds)
    path.fitted.push_back(tally(by_label, thresholds));
  const auto images = static_cast<std::size_t>(judged.images);
  const std::size_t folds = std::min<std::size_t>(kFolds, images);
  path.held_out_right.resize(path.thresholds.size());
  if (folds < 2) {  // nothing to hold out
    std::ranges::transform(path.fitted, path.held_out_right.begin(), &Choice::good);
    return path;
  }
  for (std::size_t fold = 0; fold < folds; ++fold) {
    std::vector<std::size_t> inside, outside;
    for (std::size_t i = 0; i < images; ++i) (i % folds == fold ? inside : outside).push_back(i);
    const Part laid(judged, right, harmless, costs, outside);
    const Part held(judged, right, harmless, costs, inside);
    const std::vector<Thresholds> other = bold_path(laid.by_harm(), kPathLevels);
    const auto mean_cost = [&](std::size_t step) {
      return tally(laid.by_label(), other[step]).total_cost / static_cast<double>(laid.count);
    };
    // Both paths grow ever cheaper.
    std::size_t step = 0;
    double cost = mean_cost(step);
    std::int64_t held_right = tally(held.by_label(), other[step]).good;
    for (std::size_t at = 0; at < path.fitted.size(); ++at) {
      // A hair more, for the order in which costs are added.
      const double most = path.fitted[at].total_cost / static_cast<double>(images) * (1 + 1e-12);
      const std::size_t before = step;
      while (cost > most && step + 1 < other.size()) cost = mean_cost(++step);
      if (step != before) held_right = tally(held.by_label(), other[step]).good;
      path.held_out_right[at] += held_right;
    }
  }
  return path;
}

std::optional<std::size_t> boldest_with(const CrossFittedPath& path, std::int64_t least_right) {
  std::optional<std::size_t> boldest;
  for (std::size_t at = 0; at < path.fitted.size(); ++at) {
    if (std::min(path.fitted[at].good, path.held_out_right[at]) >= least_right)
      boldest = at;
    else if (boldest)
      break;
  }
  return boldest;
}

}  // namespace offramp
