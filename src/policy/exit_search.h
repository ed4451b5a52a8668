#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "policy/aim.h"
#include "policy/calibration.h"
#include "policy/logits.h"

namespace offramp::policy {

/// Relative costs of a network that has an exit at each of several places, from which a few are to
/// be chosen. Candidates 0 … K - 2 are early exits in the order of the network; candidate K - 1 is
/// the last exit, which is always there.
struct CandidateCosts {
  /// [K] the place of each candidate, not decreasing. Of the candidates at one place, which are
  /// heads of different kinds, at most one can be chosen.
  std::vector<int> place;
  /// [K] relative cost of the backbone up to each candidate's place, not decreasing.
  std::vector<double> body;
  std::vector<double> head;  ///< [K] relative cost of each candidate's head
};

/// A choice of early exits: indices of candidates, increasing, at different places.
using ExitSet = std::vector<int>;

/// Returns [set + 1] the relative cost of an image that stops at each exit of a set, the last exit
/// included: of the backbone up to there and of the heads on the way.
std::vector<double> costs_of_set(const CandidateCosts& costs, const ExitSet& set);

/// The conditions for a choice of exits.
struct ExitSearchOptions {
  /// The aim for which exits are chosen: for an AccuracyDrop and a HarmGuarantee the lowest cost
  /// counts, for a MaxCost the highest accuracy. A FixedThreshold is not allowed.
  Aim aim;
  /// HarmGuarantee only: the number of certify images, and the number of the certificate.
  std::int64_t certify_images = 0;
  int attempt = 1;
  int max_exits = 0;  ///< largest number of early exits; 0: no limit
  /// If there are at most this many sets, all are evaluated.
  std::int64_t most_enumerated = 600;
  int max_threads = 0;  ///< largest number of threads; 0: all cores
  /// Called after each evaluation with the number of sets evaluated so far; may be empty.
  std::function<void(std::int64_t)> progress = {};
};

/// The value of a set of exits with the thresholds that choose_thresholds() chooses for the aim;
/// for a HarmGuarantee those whose rate of harm can be certified, also cross-validated.
struct SetValue {
  ExitSet set;
  bool met = true;  ///< false: no thresholds meet the aim, and no image stops early
  /// Mean relative cost of the images on which the thresholds were chosen.
  double relative_cost = 1;
  double accuracy = 0;  ///< cross-validated accuracy; for a HarmGuarantee 1 minus the rate of harm
};

/// The result of a search.
struct ExitSearch {
  SetValue best;
  std::vector<SetValue> best_of_size;  ///< the best set found of 0, 1, 2, … early exits
  std::vector<SetValue> single;        ///< [K - 1] each candidate as the only early exit
  std::vector<SetValue> without;       ///< the best set without each of its exits
  bool exhaustive = false;             ///< every set was evaluated
  std::int64_t evaluated = 0;          ///< number of different sets that were evaluated
};

/// Chooses early exits for an aim on the tune images. If there are too many sets to evaluate all,
/// it evaluates those that a dynamic program proposes and then exchanges exits:
///
/// 1. The dynamic program minimises (cost) + λ (correct answers lost) for a range of prices λ and
///    each number of exits, over places, kinds and quantiles of each exit's scores. Its state is
///    the last exit and its threshold: it assumes that the images that reach the next exit are
///    those below this threshold, whichever thresholds the exits before had.
/// 2. Each proposed set is evaluated with thresholds for the aim, cross-validated.
/// 3. From the best one of each size, single exits are added, removed or replaced by another
///    candidate until no such change is better.
///
/// @param policy  the result of fit_policy() for all candidates, without an ensemble; its criterion
///                is not patience
/// @param tune    logits of all K candidates for N images
/// @throws UsageError if the aim is a FixedThreshold; Error if there is no image or sizes differ
ExitSearch search_exits(const Policy& policy, const LogitsView& tune, const CandidateCosts& costs,
                        const ExitSearchOptions& options);

/// True if a set is better than another one: it meets the aim and the other does not; or both do
/// and it is cheaper (for a MaxCost: more accurate, then cheaper). Numbers that are equal when
/// rounded to nine decimals are equal, so this is a strict weak order.
bool is_better(const Aim& aim, const SetValue& value, const SetValue& than);

/// Returns the number of sets of at most `max_exits` exits (0: any number); at most `limit` + 1.
std::int64_t count_sets(const CandidateCosts& costs, int max_exits, std::int64_t limit);

}  // namespace offramp::policy
