#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/logits_file.h"
#include "eval/metrics.h"
#include "graph/graph.h"
#include "model/model_file.h"
#include "policy/aim.h"
#include "policy/calibration.h"
#include "policy/exit_search.h"
#include "workflow/open_model.h"
#include "workflow/progress.h"

namespace offramp::workflow {

struct PlaceExitsOptions {
  /// The kinds of heads that the model has at each of its places, see graph::with_every_head().
  std::vector<std::string> kinds;
  policy::Aim aim = policy::AccuracyDrop{0.005};                ///< the aim; not a FixedThreshold
  policy::Criterion criterion = policy::Criterion::confidence;  ///< the criterion; not patience
  int max_exits = 0;  ///< largest number of early exits; 0: no limit
  /// Whether to compare with the answers of the last exit instead of the labels, which are not
  /// read.
  bool label_free = false;
  /// Options of the search: its number of threads. If costs are in milliseconds, all options are
  /// used, because times are measured on this machine.
  RunOptions run = {};
};

/// The measured value of an exit at one place with one kind of head.
struct ExitCandidate {
  std::string after;  ///< name of the place: "layer2.1"
  std::string kind;   ///< kind of the head
  graph::Shape shape;
  double body_cost = 0,
         head_cost = 0;  ///< relative cost of the layers up to there, and of the head
  double accuracy = 0;   ///< accuracy of the head alone, on all tune images
  eval::Interval accuracy_interval;
  double agreement = 0;    ///< share of the images that it classifies as the last exit does
  policy::SetValue alone;  ///< the network with this exit as its only early one
  bool chosen = false;
  /// For a chosen exit, the value of the network with only the other chosen exits.
  std::optional<policy::SetValue> without = {};
};

/// The result of complete searches on images that they did not use: for each of several folds of
/// the tune images, exits, heads, temperatures and thresholds are chosen on the other folds. The
/// 95 % intervals account for the random choice of images, but not for that of exits, because the
/// folds choose on images that they share. All figures estimate this procedure, not the one policy
/// that it chooses on all images.
struct HeldOutResult {
  std::int64_t images = 0;
  int folds = 0;
  int same_choice = 0;  ///< folds whose search chose the same exits as the search on all images
  double accuracy = 0;
  eval::Interval accuracy_interval;
  double last_accuracy = 0;      ///< accuracy of the last exit alone
  eval::Interval difference;     ///< 95 % interval of accuracy minus last_accuracy, paired
  double relative_cost = 0;      ///< mean relative cost of the images
  eval::Interval cost_interval;  ///< 95 % interval of that mean cost
  double harm = 0;               ///< rate of images that only the last exit classifies correctly
};

/// The exits that were chosen, with the figures they were chosen by.
struct ExitPlacement {
  std::int64_t images = 0;                     ///< number of tune images
  double last_accuracy = 0;                    ///< accuracy of the last exit on these images
  std::vector<ExitCandidate> candidates;       ///< [K - 1] in the order of the network
  policy::SetValue chosen;                     ///< `set` holds indices of candidates; may be empty
  std::vector<policy::SetValue> best_of_size;  ///< the best choice of 0, 1, 2, … early exits
  bool exhaustive = false;                     ///< whether all sets of exits were evaluated
  std::int64_t evaluated = 0;                  ///< number of sets that were evaluated
  /// Result on images that the search did not use; no value: there are too few images.
  std::optional<HeldOutResult> held_out;
  std::vector<double> body_ms, head_ms;  ///< [K] measured times; empty if the cost is in MACs
};

/// Chooses exits, kinds of heads and thresholds for an aim on the tune images.
/// @param model  has a head of each kind at each place, as trained with exits = "every"
/// @param tune   logits of all its exits on images that it was not trained on
/// @throws UsageError if an option is not allowed; Error if the model and the logits do not belong
/// together; Cancelled
ExitPlacement place_exits(const model::ModelFile& model, const eval::SavedLogits& tune,
                          const PlaceExitsOptions& options, const Progress& progress = {});

/// Returns the model with the chosen exits only. The weights are unchanged.
model::ModelFile with_chosen_exits(const model::ModelFile& model, const ExitPlacement& placement);

/// Replaces the labels by the answers of the last exit.
void label_with_last_exit(eval::SavedLogits& logits);

}  // namespace offramp::workflow
