#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "engine/opened_model.h"
#include "eval/logits_file.h"
#include "workflow/evaluate.h"

namespace offramp::workflow {

/// Logits of all exits on some images, and what the network did when it really stopped by the
/// model's policy.
struct KeptLogits {
  SavedLogits logits;
  std::optional<StoppedAnswers> stopped;  ///< none: it was not run by the policy it has now
};

/// Where a model's logits are kept: "model.test-logits.safetensors" beside "model.safetensors".
std::filesystem::path kept_logits_path(const std::filesystem::path& model, const std::string& part);

/// The logits kept beside a model, if they are those of its network and weights on just these
/// images in this precision by these kernels; else runs the network, and keeps them. A file that
/// cannot be written is remarked, no more.
/// @param path  of the file that `model` was opened from  @param part  "test" or "tune"
KeptLogits logits_of(const std::filesystem::path& path, engine::OpenedModel& model,
                     const EvaluationSet& set, const std::string& part, const Progress& progress);

}  // namespace offramp::workflow
