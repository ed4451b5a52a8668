#include "workflow/logits_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/hash.h"
#include "core/safetensors.h"
#include "core/version.h"
#include "model/policy_json.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;

/// The hash of everything that the logits depend on.
std::string key_of(const fs::path& path, const engine::OpenedModel& model,
                   const EvaluationSet& set) {
  core::HashOfValues key;
  key.add(model::graph_to_json(model.file().graph));
  // The tensors are hashed as stored in the file, so the scales of 8-bit weights are included.
  const core::Safetensors file = core::Safetensors::open(path);
  for (const auto& [name, tensor] : file.tensors()) {
    key.add(name);
    key.add(tensor.bytes);
  }
  const core::Preprocessing& p = model.file().preprocessing;
  key.add(fmt::format("{} {} {}", p.height, p.width, to_string(p.fit)));
  for (const auto& triple : {p.mean, p.std}) key.add(std::span<const float>(triple));
  for (const std::int64_t i : set.indices) {
    const auto index = static_cast<std::size_t>(i);
    key.add(std::as_bytes(std::span(&set.data->hashes[index], 1)));
    key.add(std::as_bytes(std::span(&set.data->labels[index], 1)));
  }
  key.add(fmt::format("{} {}", model.kernels(), to_string(model.precision())));
  return key.text();
}

std::string policy_text(const model::ModelFile& model) {
  return model.policy ? model::policy_to_json(*model.policy) : "";
}

/// Finds a tensor [images] of type i64; nullptr if there is none.
const core::TensorView* find_vector(const core::Safetensors& file, const char* name,
                                    std::size_t images) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end()) return nullptr;
  const core::TensorView& view = found->second;
  const bool fits = view.dtype == core::DType::i64 && view.shape.size() == 1 &&
                    view.shape[0] == static_cast<std::int64_t>(images);
  return fits ? &view : nullptr;
}

/// Reads the result of the run under `policy`; nullopt if the file holds none, or one of another
/// policy.
std::optional<StoppedAnswers> read_stopped(const core::Safetensors& file,
                                           const eval::SavedLogits& logits,
                                           const std::string& policy) {
  const auto stored = file.metadata().find("policy");
  const core::TensorView* exits = find_vector(file, "policy.exit_index", logits.labels.size());
  const core::TensorView* answers = find_vector(file, "policy.answers", logits.labels.size());
  if (stored == file.metadata().end() || stored->second != policy || !exits || !answers)
    return std::nullopt;
  StoppedAnswers stopped;
  const core::HostTensor cached_exits = exits->copy(), cached_answers = answers->copy();
  for (const std::int64_t k : cached_exits.as<std::int64_t>()) {
    if (k < 0 || k >= logits.exits) return std::nullopt;
    stopped.exit_index.push_back(static_cast<int>(k));
  }
  for (const std::int64_t answer : cached_answers.as<std::int64_t>()) {
    if (answer < 0 || answer >= logits.classes) return std::nullopt;
    stopped.answers.push_back(answer);
  }
  return stopped;
}

/// @throws Error if logits cannot be those of this model for these images
void check_logits(const eval::SavedLogits& logits, const engine::OpenedModel& model,
                  const EvaluationSet& set) {
  if (logits.exits != model.num_exits() || logits.classes != model.num_classes())
    throw Error("they have other exits or classes than the model");
  if (!std::ranges::equal(logits.labels, set.indices, {}, {}, [&](std::int64_t i) {
        return set.data->labels[static_cast<std::size_t>(i)];
      }))
    throw Error("they have other labels than the images");
  if (!std::ranges::all_of(logits.logits, [](float value) { return std::isfinite(value); }))
    throw Error("a logit is not a finite number");
}

std::optional<CachedLogits> read_cache(const fs::path& path, const std::string& key,
                                       const engine::OpenedModel& model, const EvaluationSet& set,
                                       const std::string& policy, const Progress& progress) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  try {
    const core::Safetensors file = core::Safetensors::open(path);
    const auto stored = file.metadata().find("key");
    if (stored == file.metadata().end() || stored->second != key) return std::nullopt;
    CachedLogits cached;
    cached.logits = eval::load_logits(path);
    check_logits(cached.logits, model, set);
    cached.stopped = read_stopped(file, cached.logits, policy);
    cached.read_from = path;
    return cached;
  } catch (const Error& error) {
    progress.remark(
        fmt::format("the saved logits are not usable and are computed again: {}", error.what()));
    return std::nullopt;
  }
}

void write_cache(const fs::path& path, const std::string& policy, const CachedLogits& cached,
                 const Progress& progress) {
  const eval::SavedLogits& logits = cached.logits;
  const auto images = static_cast<std::int64_t>(logits.labels.size());
  core::Tensors tensors = eval::to_tensors(logits);
  core::Metadata metadata = logits.metadata;
  if (cached.stopped) {
    const std::vector<std::int64_t> exits(cached.stopped->exit_index.begin(),
                                          cached.stopped->exit_index.end());
    tensors.emplace("policy.exit_index",
                    core::HostTensor::of({images}, std::span<const std::int64_t>(exits)));
    tensors.emplace(
        "policy.answers",
        core::HostTensor::of({images}, std::span<const std::int64_t>(cached.stopped->answers)));
    metadata.emplace("policy", policy);
  }
  try {
    core::write_safetensors(path, metadata, tensors);
  } catch (const Error& error) {
    progress.remark(fmt::format("the logits are not saved for the next run: {}", error.what()));
  }
}

}  // namespace

fs::path logits_cache_path(const fs::path& model, const std::string& part) {
  fs::path path = model;
  path.replace_extension(fmt::format(".{}-logits.safetensors", part));
  return path;
}

CachedLogits find_or_compute_logits(const fs::path& path, engine::OpenedModel& model,
                                    const EvaluationSet& set, const std::string& part,
                                    const Progress& progress) {
  const fs::path file = logits_cache_path(path, part);
  const std::string key = key_of(path, model, set);
  const std::string policy = policy_text(model.file());
  if (auto cached = read_cache(file, key, model, set, policy, progress)) return std::move(*cached);
  CachedLogits cached;
  cached.logits = run_all_exits(model, set, progress);
  cached.logits.metadata = {{"key", key},
                            {"model", path.filename().string()},
                            {"part", part},
                            {"commit", core::kCommit},
                            {"precision", std::string(to_string(model.precision()))}};
  if (model.file().policy && part == "test")
    cached.stopped = run_with_policy(model, set, model.file().policy->policy, progress);
  write_cache(file, policy, cached, progress);
  return cached;
}

}  // namespace offramp::workflow
