#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "cli/engine.h"
#include "workflow/evaluate.h"
#include "eval/logits_file.h"
#include "model/model_file.h"

namespace offramp::cli {

/// Logits of all exits on some images, and what the network did when it really stopped by the
/// model's policy.
struct KeptLogits {
  SavedLogits logits;
  std::optional<StoppedAnswers> stopped;  ///< none: it was not run by the policy it has now
};

/// Where a model's logits are kept: "model.test-logits.safetensors" beside "model.safetensors".
std::filesystem::path kept_logits_path(const std::filesystem::path& model, const std::string& part);

/// The logits kept beside a model, if they are those of its network and weights on just these
/// images by this engine; else runs the network, and keeps them. A file that cannot be written is
/// told of, no more.
/// @param path  of the model  @param part  "test" or "tune"
KeptLogits logits_of(const std::filesystem::path& path, const ModelFile& model,
                     const EvaluationSet& set, const std::string& part, const EngineFlags& flags);

}  // namespace offramp::cli
