#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/policy_metrics.h"
#include "eval/worst_class.h"
#include "model/model_file.h"
#include "policy/aim.h"
#include "policy/calibration.h"
#include "policy/chosen_policy.h"
#include "workflow/open_model.h"

namespace offramp::workflow {

struct CalibrateOptions {
  std::filesystem::path model;
  std::string data;                      ///< the data set it was trained on, see load_data
  std::filesystem::path out = {};        ///< empty: the model's own file
  PolicyShape shape = {};                ///< criterion and ensemble
  Aim aim = FixedThreshold{};            ///< an AccuracyDrop's file name is taken from `reference`
  std::filesystem::path reference = {};  ///< of AccuracyDrop: the model it is measured from
  bool worst_class = false;              ///< of HarmGuarantee: also the class with most harm
  bool drop_useless_exits = false;
  RunOptions run = {};

  const std::filesystem::path& written_to() const { return out.empty() ? model : out; }
};

/// @throws UsageError naming the field if a number makes no sense, or two fields exclude each other
void check(const CalibrateOptions& options);

/// What an image costs that stops at each exit.
struct ExitCosts {
  std::vector<double> relative;  ///< [K] to the plain network's MACs, or to the last exit's time
  std::vector<double> ms;        ///< [K] an image, measured; empty where MACs are the cost
};

/// A policy on the images it was chosen on, replayed from logits.
struct OnTune {
  std::int64_t images = 0;
  std::int64_t missing = 0;                 ///< listed in the model, not found in the data
  double last_accuracy = 0;                 ///< of the last exit alone
  std::optional<double> held_out_accuracy;  ///< where an accuracy was the aim: see Chosen
  PolicyMetrics metrics;
};

/// What was certified on the model's certify images.
struct Certificate {
  bool drawn = false;        ///< false: too few images; they were not looked at, nothing is counted
  std::int64_t missing = 0;  ///< listed in the model, not found in the data
  CertificationResult result;
  std::optional<WorstClass> worst;
};

/// What was chosen and written.
struct Calibration {
  ChosenPolicy chosen;
  bool met = true;  ///< else the policy never stops early
  ExitCosts costs;
  OnTune tune;
  std::optional<double> least_accuracy;  ///< on tune, that an accuracy aim asks for
  std::optional<Certificate> certificate;
  std::vector<int> dropped;     ///< 0-based exits, as the model came
  bool state_left_out = false;  ///< tensors beside the weights, which spoke of the dropped exits
  std::optional<std::string> replaced;  ///< the aim of the policy that stood in the file
  std::vector<std::string> classes;
  std::string precision, kernels;  ///< that computed
};

/// Chooses on the model's tune images; for a guarantee then certifies once on its certify images,
/// which is counted in the model's own file before anything is looked at; writes the result.
/// @throws UsageError as check; Error if the data do not hold the model's images, the model was
/// trained on them, or a file cannot be written; Cancelled
Calibration calibrate(const CalibrateOptions& options, const Progress& progress = {});

/// The same for a model that was made of the one in `options.model` and is in no file yet; the
/// result goes to `options.out`. A certificate is counted in `options.model`, whose images it looks
/// at.
Calibration calibrate(const CalibrateOptions& options, ModelFile made,
                      const Progress& progress = {});

}  // namespace offramp::workflow
