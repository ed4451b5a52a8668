#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/logits_file.h"
#include "eval/metrics.h"
#include "eval/overthinking.h"
#include "eval/policy_metrics.h"
#include "graph/cost.h"
#include "policy/chosen_policy.h"
#include "policy/drift.h"
#include "report/report.h"
#include "workflow/open_model.h"
#include "workflow/policy_choice.h"
#include "workflow/sweep.h"

namespace offramp::workflow {

/// Which images of a data set: its test part, or those of the training part that the model lists.
enum class ImagePart { test, tune, certify };
std::string_view to_string(ImagePart part);
/// @throws UsageError for another word
ImagePart image_part_from_string(std::string_view word);

struct EvaluateOptions {
  std::filesystem::path model;
  std::string data;  ///< source, see load_data
  ImagePart part = ImagePart::test;
  PolicyChoice policy = {};
  /// Other models to compare with, on the same images.
  std::vector<std::filesystem::path> compare = {};
  bool skip_trained = false;  ///< leave out images that the model was trained on, do not refuse
  bool confusion = false;     ///< also the confusion matrices
  bool sweep = false;         ///< also the curves of all criteria, thresholds chosen on tune
  std::filesystem::path save_logits = {};  ///< not empty: keep logits and labels in this file
  RunOptions run = {};
  std::string command = "evaluate";  ///< what test_reads.jsonl names as the reader of test images

  /// The files that are read.
  std::vector<std::filesystem::path> inputs() const;
};

/// What a policy did when the network really stopped where it says.
struct PolicyEvaluation {
  ChosenPolicy chosen;
  bool of_model = false;
  bool certificate_lost = false;  ///< the model has one, for another precision or other kernels
  PolicyMetrics metrics;
  std::vector<std::int64_t> answers;
  /// Where these images leave beside those it was chosen on; of a model's own policy.
  std::optional<DriftVerdict> drift;
  /// Images that leave elsewhere, or with another answer, when saved logits are replayed.
  std::int64_t replay_differs = 0;
};

struct Evaluation {
  std::string source;              ///< the data, for people
  std::string precision, kernels;  ///< that computed
  std::vector<std::string> classes;
  std::vector<std::string> places;  ///< [K] after which unit each exit comes
  Cost cost;
  SavedLogits logits;
  Metrics metrics;
  std::vector<OverthinkingCounts> overthinking;  ///< one for each class
  /// [K] each [classes, classes], rows the label; where it was asked for
  std::vector<std::vector<std::int64_t>> confusion;
  std::optional<PolicyEvaluation> policy;
  /// Differences are from the policy, or without one from the last exit.
  std::vector<ReportControl> controls;
  std::optional<Sweep> sweep;
};

/// Measures every exit of a model on labelled images, and a policy by stopping as it says. A
/// reading of test images is logged beside the model.
/// @throws UsageError for options that make no sense; Error "<path>: …"; TrainedOnImages; Cancelled
Evaluation evaluate(const EvaluateOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
