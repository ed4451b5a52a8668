#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "data/dataset.h"
#include "model/model_file.h"
#include "workflow/progress.h"

namespace offramp::workflow {

/// Waits for the lock that a process holds while it reads a model file, changes its content and
/// replaces it. It is a lock on the folder of the file that `model` names after links are followed.
/// @throws Error if the folder cannot be opened
core::FileLock lock_to_change(const std::filesystem::path& model);

/// Returns true if any certify image of one model is a certify image of the other one too.
bool share_certify_images(const model::ModelFile& a, const model::ModelFile& b);

/// Counts one more use of a model's certify images in the model's file. Call it before any of the
/// images is evaluated: a run that is interrupted afterwards has used them. Processes that count at
/// the same time get different numbers.
/// @param at_least  uses that are known from elsewhere
/// @param may_count  is called with the content of the file and the number of the new use; if it
/// returns false, nothing is counted
/// @return the number of the use, from 1; nullopt if may_count returned false
/// @throws Error "<path>: …" if the file cannot be read or written, and what may_count throws
std::optional<int> count_certify_use(
    const std::filesystem::path& model, int at_least,
    const std::function<bool(const model::ModelFile& now, int use)>& may_count);

/// Images that a command is about to evaluate for people to see.
struct ImagesToShow {
  const data::Dataset* data;
  const std::vector<std::int64_t>* indices;
  std::string source;   ///< source of the data
  std::string command;  ///< the command that shows them, for people
};

/// If some of the images are certify images of the model, counts this as one more use of them and
/// records it in test_reads.jsonl beside the model.
/// @throws Error "<path>: …" if it cannot be recorded or counted
void count_shown_certify_images(const std::filesystem::path& path, const model::ModelFile& model,
                                const ImagesToShow& shown, const Progress& progress);

}  // namespace offramp::workflow
