#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "engine/opened_model.h"
#include "eval/logits_file.h"
#include "workflow/evaluate.h"

namespace offramp::workflow {

/// The logits of all exits on some images, and the result of a run in which the model's policy
/// really stopped each image.
struct CachedLogits {
  eval::SavedLogits logits;
  std::optional<StoppedAnswers> stopped;  ///< empty: there was no run under the present policy
  std::filesystem::path read_from;        ///< the cache file; empty: they were computed now
};

/// The cache file of a model's logits: "model.test-logits.safetensors" beside "model.safetensors".
std::filesystem::path logits_cache_path(const std::filesystem::path& model,
                                        const std::string& part);

/// Returns the logits from the cache file if they were computed from the same network, weights,
/// images, precision and kernels. Otherwise it runs the network and writes the cache file; if the
/// file cannot be written, this is reported with Progress::remark and is not an error.
/// @param path  the file that `model` was opened from  @param part  "test" or "tune"
CachedLogits find_or_compute_logits(const std::filesystem::path& path, engine::OpenedModel& model,
                                    const EvaluationSet& set, const std::string& part,
                                    const Progress& progress);

}  // namespace offramp::workflow
