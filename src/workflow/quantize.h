#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/metrics.h"
#include "model/model_file.h"
#include "workflow/calibrate.h"
#include "workflow/evaluate.h"

namespace offramp::workflow {

struct QuantizeOptions {
  std::filesystem::path model;
  std::string data;                ///< the data set the model was trained on, see load_data
  std::filesystem::path out = {};  ///< empty: beside the model, model.int8.safetensors
  std::string precision = "int8";  ///< "int8" or "bf16"
  int images = 1024;               ///< number of training images for the ranges of activations
  int threads = 0;                 ///< 0: usable_cores()
  /// Data set from whose test part the images are taken that an int8 file stores, so that its
  /// certificate can be checked on another CPU; empty: tune images of the model.
  std::string check_images = {};

  /// The file that the result is written to.

  std::filesystem::path written_to() const;
};

/// The accuracy of an exit in f32 and in the deployed precision, on tune images.
struct ExitLoss {
  double reference_accuracy = 0, accuracy = 0;  ///< accuracy in f32, and in the deployed one
  eval::Interval difference;  ///< accuracy minus reference_accuracy, paired 95 % interval
  double agreement = 0;       ///< share of the images with the same answer in both
};

/// The deployment file that was written.
struct Quantized {
  std::int64_t observed = 0;  ///< number of training images on which ranges were observed
  std::int64_t tune_images = 0;
  std::vector<ExitLoss> exits;
  std::int64_t stored = 0;            ///< images whose pixels and logits the file stores
  bool within_bounds = false;         ///< the last exit's loss is allowed, see is_within_bounds
  std::int64_t bytes_before = 0;      ///< size of the model file
  std::int64_t bytes = 0;             ///< size of the deployment file
  std::optional<Calibration> policy;  ///< chosen anew for the aim of the model's policy
  CalibrateOptions policy_options;    ///< the options by which `policy` was chosen
  std::string no_policy;              ///< one line: why there is no policy; empty if there is one
};

/// True if a policy can be chosen anew from the model alone: its aim is recorded, and refers
/// neither to another model nor to a measured time.
bool can_be_chosen_anew(const policy::ChosenPolicy& chosen);

/// Runs a deployment file and the model that it was made from, in f32, on tune images, and stores
/// the last exit's loss in the deployment file. @return the loss of each exit
std::vector<ExitLoss> measure_loss(const model::ModelFile& model, model::ModelFile& deployed,
                                   const EvaluationSet& tune, int threads,
                                   const Progress& progress = {});

/// Writes a deployment file in one precision, evaluates it on tune images, and chooses its policy
/// anew for the aim of the model's policy.
/// @throws Error "<path>: …" if the model is a deployment file, the data do not contain its images,
/// or a file cannot be written; UsageError if an option is not allowed; Cancelled
Quantized quantize(const QuantizeOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
