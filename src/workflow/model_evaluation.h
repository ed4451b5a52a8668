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

/// Which images of a data set are evaluated: its test part, or those images of its training part
/// that the model lists as tune or certify.
enum class ImagePart { test, tune, certify };
std::string_view to_string(ImagePart part);
/// @throws UsageError if `word` is not the name of a part
ImagePart image_part_from_string(std::string_view word);

struct EvaluateOptions {
  std::filesystem::path model;
  std::string data;  ///< source, see load_data
  ImagePart part = ImagePart::test;
  PolicyChoice policy = {};
  /// Other models, which are run on the same images and compared with this one.
  std::vector<std::filesystem::path> compare = {};
  bool skip_trained = false;  ///< leave out images that the model was trained on; false: refuse
  bool confusion = false;     ///< whether to compute the confusion matrices
  /// Whether to compute the curves of all criteria, with thresholds chosen on tune.
  bool sweep = false;
  std::filesystem::path save_logits = {};  ///< not empty: write logits and labels to this file
  RunOptions run = {};
  std::string command = "evaluate";  ///< the name under which test_reads.jsonl records the run

  /// The files that the call reads.
  std::vector<std::filesystem::path> inputs() const;
};

/// The results of a policy in a run that really stopped each image.
struct PolicyEvaluation {
  policy::ChosenPolicy chosen;
  bool is_models_own = false;  ///< the model's own policy; false: one from the options
  /// Guarantee of the model's own policy, if it has one.
  std::optional<policy::Guarantee> guarantee;
  engine::CertificateStatus certificate;  ///< whether the guarantee is in force for this run
  /// What harm and help are counted against.
  policy::HarmReference against = policy::HarmReference::last_exit;
  eval::PolicyMetrics metrics;
  std::vector<std::int64_t> answers;  ///< [N] predicted classes
  /// For the model's own policy: whether images stop at other exits than when it was chosen.
  std::optional<policy::DriftVerdict> drift;
  /// Number of images for which a replay from saved logits gives another exit or another answer.
  std::int64_t replay_differs = 0;
};

/// The results of evaluating a model.
struct Evaluation {
  std::string source;              ///< description of the data for people
  std::string precision, kernels;  ///< precision and kernels of the run
  std::vector<std::string> classes;
  std::vector<std::string> exit_units;  ///< [K] the unit that each exit comes after
  graph::Cost cost;
  eval::SavedLogits logits;
  eval::Metrics metrics;
  std::vector<eval::OverthinkingCounts> overthinking;  ///< one for each class
  /// [K] matrices [classes, classes], with a row for each label; empty if not requested
  std::vector<std::vector<std::int64_t>> confusion;
  std::optional<PolicyEvaluation> policy;
  /// Differences are those of the policy minus the baseline; without a policy, those of the last
  /// exit.
  std::vector<report::ReportBaseline> controls;
  std::optional<Sweep> sweep;
};

/// Evaluates every exit of a model on labelled images, and its policy in a run that really stops
/// each image. A use of test images is recorded in test_reads.jsonl beside the model.
/// @throws UsageError if an option is not allowed; Error "<path>: …"; TrainedOnImages; Cancelled
Evaluation evaluate(const EvaluateOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
