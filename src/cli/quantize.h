#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/calibration.h"
#include "eval/metrics.h"
#include "model/model_file.h"

namespace offramp::cli {

/// What `offramp quantize` was asked for.
struct QuantizeFlags {
  std::string model, data, out, precision = "int8";
  int images = 1024;  ///< to observe ranges on
  int threads = 0;
  bool json = false;

  /// model.safetensors -> model.int8.safetensors, unless --out says otherwise.
  std::string written_to() const;
};

/// An exit in both precisions, on tune images.
struct ExitLoss {
  double reference_accuracy = 0, accuracy = 0;  ///< of f32, and of the deployed precision
  Interval difference;                          ///< 95 %, paired: accuracy less reference
  double agreement = 0;                         ///< share of equal answers
};

/// What was written.
struct Quantized {
  std::int64_t observed = 0;  ///< training images that ranges were observed on
  std::int64_t tune_images = 0;
  std::vector<ExitLoss> exits;
  bool within_bounds = false;                ///< of the last exit's loss, see is_within_bounds
  std::int64_t bytes_before = 0, bytes = 0;  ///< of the files
  std::optional<Calibration> policy;         ///< chosen again by the aim of the model's own
  CalibrateFlags policy_flags;               ///< it was chosen by
  std::string no_policy;                     ///< why there is none, a line; else empty
};

/// Makes a deployment file of one precision, measures it on tune images, and chooses the policy
/// anew by the aim of the model's own.
/// @throws Error "<path>: …" for a deployment file, data without the model's images, or a file that
/// cannot be written; UsageError for flags that make no sense
Quantized quantize(const QuantizeFlags& flags);

std::string to_json_text(const QuantizeFlags& flags, const Quantized& result);
std::string to_text(const QuantizeFlags& flags, const Quantized& result, bool color);

}  // namespace offramp::cli
