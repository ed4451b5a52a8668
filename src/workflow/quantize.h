#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/metrics.h"
#include "model/model_file.h"
#include "workflow/calibrate.h"

namespace offramp::workflow {

struct QuantizeOptions {
  std::filesystem::path model;
  std::string data;                ///< the data set it was trained on, see load_data
  std::filesystem::path out = {};  ///< empty: beside the model, model.int8.safetensors
  std::string precision = "int8";  ///< or "bf16"
  int images = 1024;               ///< training images to observe ranges of activations on
  int threads = 0;                 ///< 0: usable_cores()

  std::filesystem::path written_to() const;
};

/// An exit in both precisions, on tune images.
struct ExitLoss {
  double reference_accuracy = 0, accuracy = 0;  ///< of f32, and of the deployed precision
  Interval difference;                          ///< 95 %, paired: accuracy less reference
  double agreement = 0;                         ///< share of equal answers
};

/// The deployment file that was written.
struct Quantized {
  std::int64_t observed = 0;  ///< training images that ranges were observed on
  std::int64_t tune_images = 0;
  std::vector<ExitLoss> exits;
  bool within_bounds = false;                ///< of the last exit's loss, see is_within_bounds
  std::int64_t bytes_before = 0, bytes = 0;  ///< of the files
  std::optional<Calibration> policy;         ///< chosen again by the aim of the model's own
  CalibrateOptions policy_options;           ///< it was chosen by
  std::string no_policy;                     ///< why there is none, a line; else empty
};

/// Whether a policy's aim can be met again from what a model holds: it is recorded, and names
/// neither another model nor a measured time.
bool can_be_met_again(const ChosenPolicy& chosen);

/// Makes a deployment file of one precision, measures it on tune images, and chooses the policy
/// anew by the aim of the model's own.
/// @throws Error "<path>: …" for a deployment file, data without the model's images, or a file that
/// cannot be written; UsageError for options that make no sense; Cancelled
Quantized quantize(const QuantizeOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
