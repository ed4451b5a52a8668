#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eval/controls.h"
#include "eval/metrics.h"
#include "eval/policy_metrics.h"
#include "eval/sweep.h"
#include "image/image.h"
#include "policy/logits.h"
#include "policy/policy.h"

namespace offramp {

/// Another way to classify the same images, as the report plots it.
struct ReportControl {
  enum class Kind {
    plain,   ///< a network without early exits
    exit,    ///< one exit used alone
    random,  ///< exits drawn at random, at the policy's rates
    oracle,  ///< the first exit that is right
    other,   ///< another network, at its last exit or under its own policy
  };
  Kind kind = Kind::other;
  std::string name;
  Control control;  ///< differences are the report's policy less this
};

/// What one epoch of a training measured.
struct TrainingEpoch {
  int epoch = 0;
  double loss = 0;
  std::vector<double> train_accuracy;  ///< [K] on augmented images
  std::vector<double> tune_accuracy;   ///< [K]
};

struct Training {
  std::string name;  ///< of the run
  std::vector<TrainingEpoch> epochs;
};

/// What the policy did with each image.
struct ReportPolicy {
  Policy policy;          ///< never_stop() where the model has none
  std::string aim;        ///< how it was chosen; empty: the model has none, every image goes on
  std::string guarantee;  ///< what is certified of it, one sentence; empty: nothing
  std::vector<int> exit_index;        ///< [N] where each image stopped, 0-based
  std::vector<std::int64_t> answers;  ///< [N]
  PolicyMetrics metrics;
  bool executed = false;  ///< the network really stopped; else replayed from logits
};

/// All that a report shows. Views must outlive the call.
struct ReportInput {
  std::string title;                 ///< name of the run
  std::string data;                  ///< the images, for people
  std::vector<std::string> classes;  ///< [C]
  LogitsView test;                   ///< K ≥ 1 exits, N ≥ 1 images
  std::vector<std::string> places;   ///< [K] after which unit each exit comes: "layer2.1"
  std::vector<double> costs;         ///< [K] relative cost of an image that leaves at exit k
  Metrics metrics;                   ///< of `test`
  ReportPolicy policy;
  std::vector<ReportControl> controls;
  /// Thresholds chosen on tune, read on `test`: `replayed`. Ensemble off; one per criterion.
  std::vector<Curve> curves;
  std::string no_curves;            ///< why there is none, one sentence, where `curves` is empty
  std::vector<Training> trainings;  ///< the run's own first
  std::vector<std::string> names;   ///< [N] where each image came from
  std::function<Image(std::int64_t)> image;                ///< its pixels
  std::vector<std::pair<std::string, std::string>> facts;  ///< seed, commit, machine, …
  std::string recipe;                                      ///< TOML; empty: not known
};

/// One HTML page that needs nothing else: no script, no request, light and dark.
/// @throws Error if sizes do not fit
std::string report_html(const ReportInput& input);

}  // namespace offramp
