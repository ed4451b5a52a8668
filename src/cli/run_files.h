#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "model/model_file.h"
#include "report/report.h"

namespace offramp::cli {

/// A run folder, or a model file alone.
struct RunFiles {
  std::string name;  ///< for people: the folder's, or the file's
  std::filesystem::path model;
  std::filesystem::path folder;
};

/// @throws Error if there is no such run
RunFiles find_run(const std::string& path);

/// The recipe as the run keeps it, or as the model remembers it; empty if neither does.
std::string recipe_of(const RunFiles& run, const ModelFile& model);

/// The epochs of metrics.jsonl. Lines that are none, a last one cut short say, are passed over.
Training training_of(const RunFiles& run);

/// What the model remembers of its training, and what runs it now: name and value, for people.
std::vector<std::pair<std::string, std::string>> facts_of(const ModelFile& model);

}  // namespace offramp::cli
