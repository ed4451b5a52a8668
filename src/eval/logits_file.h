#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "eval/metrics.h"

namespace offramp {

/// Logits of all exits and the labels, as `offramp test --save-logits` keeps them: a safetensors
/// file with `logits` [K, N, classes] f32 and `labels` [N] i64.
struct SavedLogits {
  int exits = 0;
  int classes = 0;
  std::vector<float> logits;
  std::vector<std::int64_t> labels;
  Metadata metadata;  ///< model, data, …

  LogitsView view() const { return {logits, labels, exits, classes}; }
};

void save_logits(const std::filesystem::path& path, const SavedLogits& saved);
/// @throws Error "<path>: …" if a tensor is missing or of another shape or type
SavedLogits load_logits(const std::filesystem::path& path);

}  // namespace offramp
