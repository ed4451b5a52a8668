#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "policy/policy.h"

namespace offramp {

/// What every exit says of every image under a policy, its thresholds left aside.
struct Judgements {
  int exits = 0;
  std::int64_t images = 0;
  std::vector<float> scores;          ///< [K, N]
  std::vector<std::int32_t> answers;  ///< [K, N]
};

/// @param logits  [K, N, classes]
Judgements judge(const Policy& policy, std::span<const float> logits, int classes);

/// What there is to choose thresholds from: for each exit and image the score, and whether stopping
/// there is good (right, or harmless). A view.
struct ExitTable {
  int exits = 0;
  std::int64_t images = 0;
  std::span<const float> scores;       ///< [K, N]; a NaN is never sure enough
  std::span<const std::uint8_t> good;  ///< [K, N] 1 or 0
  std::span<const double> costs;       ///< [K] of an image that stops there
};

/// What thresholds do on the images of a table.
struct Choice {
  Thresholds thresholds;  ///< [K - 1]
  std::int64_t good = 0;  ///< images that stop where it is good
  double total_cost = 0;  ///< of the images' counts per exit: equal counts, equal bits
};

/// The limits that a choice must keep to, and which of those that do is wanted. `calibrate` asks
/// for the best within a cost; bench/guarantee compares it with the cheapest that has a count of
/// good images.
struct SearchGoal {
  std::int64_t least_good = 0;
  double most_cost = std::numeric_limits<double>::infinity();  ///< total
  bool cheapest = true;  ///< else the one with most good images; the other quantity breaks ties
};

/// Counts what thresholds do, image by image.
Choice tally(const ExitTable& table, const Thresholds& thresholds);

/// The same as tally() of each, for thresholds that only get lower from one to the next.
std::vector<Choice> tally_along(const ExitTable& table, const std::vector<Thresholds>& path);

/// The best single threshold for all early exits, exactly. nullopt if none keeps to the limits.
std::optional<Choice> search_shared(const ExitTable& table, const SearchGoal& goal);

/// The best thresholds, one per early exit. Exact for up to two early exits and 20,000 images or
/// so; beyond, exact over the last early exit's threshold and a grid of quantiles of the others',
/// then improved one exit at a time. Never worse than search_shared.
std::optional<Choice> search_each(const ExitTable& table, const SearchGoal& goal);

/// Steps of each exit's threshold on a path that policies are chosen from: quantiles of its scores.
inline constexpr int kPathLevels = 200;

/// Ever bolder thresholds, from those at which nothing stops early: each step lowers to the next of
/// `levels` quantiles the threshold of the exit that promises most, which is the cost it saves for
/// each image it does no good to, at the best of all places it could be lowered to.
std::vector<Thresholds> bold_path(const ExitTable& table, int levels);

}  // namespace offramp
