#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "eval/metrics.h"

namespace offramp::eval {

/// The logits of all exits and the labels, as `offramp test --save-logits` writes them: a
/// safetensors file with `logits` [K, N, classes] f32, `labels` [N] i64 and `hashes` [N] u64.
struct SavedLogits {
  int exits = 0;
  int classes = 0;
  std::vector<float> logits;         ///< [K, N, classes]
  std::vector<std::int64_t> labels;  ///< [N]
  /// [N] data::image_hash of each image; empty in files of earlier programs.
  std::vector<std::uint64_t> hashes;
  core::Metadata metadata;  ///< texts that say which model and data these are

  policy::LogitsView view() const { return {logits, labels, exits, classes}; }
};

/// The tensors of a file of logits.
core::Tensors to_tensors(const SavedLogits& saved);
/// Writes a file of logits. @throws Error "<path>: …" if it cannot be written
void save_logits(const std::filesystem::path& path, const SavedLogits& saved);
/// Reads a file of logits.
/// @throws Error "<path>: …" if a tensor is missing or has another shape or type
SavedLogits load_logits(const std::filesystem::path& path);

}  // namespace offramp::eval
