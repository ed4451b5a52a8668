#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eval/baselines.h"
#include "eval/metrics.h"
#include "eval/policy_metrics.h"
#include "eval/sweep.h"
#include "image/image.h"
#include "policy/logits.h"
#include "policy/policy.h"

namespace offramp::report {

/// Another way to classify the same images, which the report compares with the policy.
struct ReportBaseline {
  enum class Kind {
    plain,   ///< a network without early exits
    exit,    ///< one exit used alone
    random,  ///< exits drawn at random, with the policy's shares
    oracle,  ///< each image stops at the first exit that classifies it correctly
    other,   ///< another network, at its last exit or under its own policy
  };
  Kind kind = Kind::other;
  std::string name;
  eval::Baseline control;  ///< its differences: the policy's values minus those of this baseline
};

/// The results of one training epoch.
struct TrainingEpoch {
  int epoch = 0;
  double loss = 0;
  std::vector<double> train_accuracy;  ///< [K] accuracy on augmented images
  std::vector<double> tune_accuracy;   ///< [K]
};

/// The epochs of a training run.
struct Training {
  std::string name;  ///< name of the run
  std::vector<TrainingEpoch> epochs;
};

/// The policy and its result for each image.
struct ReportPolicy {
  policy::Policy policy;  ///< never_stop() where the model has none
  std::string aim;        ///< how it was chosen; empty: the model has no policy
  std::string guarantee;  ///< its guarantee in one sentence; empty: none
  /// Whether the guarantee is in force for these images, in this precision, on this CPU.
  bool guarantee_in_force = false;
  std::string guarantee_status;       ///< "in force", "not in force: why", …; empty: none
  std::vector<int> exit_index;        ///< [N] where each image stopped, 0-based
  std::vector<std::int64_t> answers;  ///< [N] predicted classes
  eval::PolicyMetrics metrics;
  /// Whether the figures are from a run in which each image really stopped; false: they are
  /// replayed from saved logits.
  bool executed = false;
};

/// The measured speed of one way to run the network.
struct SpeedRow {
  std::string name;              ///< "by the policy", "to the last exit"
  double ms_alone = 0;           ///< median time of one image that runs alone, in milliseconds
  double images_per_second = 0;  ///< throughput of many images together
  double relative_cost = 0;
};

/// The content of a report. The memory behind its views must stay valid during report_html().
struct ReportInput {
  std::string title;                    ///< name of the run
  std::string data;                     ///< description of the images for people
  std::vector<std::string> classes;     ///< [C]
  policy::LogitsView test;              ///< K ≥ 1 exits, N ≥ 1 images
  std::vector<std::string> exit_units;  ///< [K] the unit that each exit comes after: "layer2.1"
  std::vector<double> costs;            ///< [K] relative cost of an image that stops at exit k
  eval::Metrics metrics;                ///< metrics of `test`
  ReportPolicy policy;
  std::vector<SpeedRow> speed;  ///< measured speeds, the policy's first; empty: not measured
  std::string speed_setup;      ///< machine, threads, precision and images, in one sentence
  std::vector<ReportBaseline> controls;
  /// One curve per criterion, replayed on `test` with thresholds that were chosen on tune images.
  std::vector<eval::Curve> curves;
  std::string no_curves;            ///< if `curves` is empty: the reason, in one sentence
  std::vector<Training> trainings;  ///< training runs, the model's own first
  std::vector<std::string> names;   ///< [N] name of each image in its source
  std::function<image::Image(std::int64_t)> image;         ///< returns the pixels of an image
  std::vector<std::pair<std::string, std::string>> facts;  ///< seed, commit, machine and others
  std::string recipe;                                      ///< TOML; empty: not known
};

/// Writes a report as one HTML page. The page contains its images and style, runs no script, loads
/// no other file, and has a light and a dark colour scheme.
/// @throws Error "report: …" if the sizes of two members contradict each other, or a value is not
/// allowed
std::string report_html(const ReportInput& input);

}  // namespace offramp::report
