#include "serve/served_models.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <system_error>

#include "core/error.h"
#include "core/numbers.h"

namespace offramp::serve {
namespace {

void check_name(const std::string& name) {
  const bool good = !name.empty() && name.size() <= 100 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
  if (!good || name == "." || name == "..")
    throw UsageError(fmt::format(
        "model name {}: expected 1 to 100 letters, digits and . _ -; give one as NAME=PATH",
        core::quote(name)));
}

std::vector<ModelEntry> entries_of_folder(const std::filesystem::path& folder) {
  std::vector<ModelEntry> entries;
  for (const auto& file : std::filesystem::directory_iterator(folder))
    if (file.path().extension() == ".safetensors")
      entries.push_back({.name = file.path().stem().string(), .path = file.path()});
  if (entries.empty())
    throw UsageError(fmt::format("{}: the folder has no model file (*.safetensors)",
                                 core::quote(folder.string())));
  std::ranges::sort(entries, {}, &ModelEntry::name);
  return entries;
}

ModelEntry parse_entry(const std::string& text) {
  ModelEntry entry;
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || std::filesystem::exists(text)) {
    entry.path = text;
    entry.name = entry.path.stem().string();
  } else {
    entry.name = text.substr(0, equals);
    entry.path = text.substr(equals + 1);
    if (const std::size_t at = entry.name.find('@'); at != std::string::npos) {
      const std::string version = entry.name.substr(at + 1);
      entry.version = core::parse_number<int>(version).value_or(0);
      if (entry.version < 1)
        throw UsageError(
            fmt::format("model {}: expected a version of 1 or more after @", core::quote(text)));
      entry.name.resize(at);
    }
  }
  if (std::filesystem::is_directory(entry.path))
    throw UsageError(fmt::format("model {}: is a folder, expected a file; folders have no name",
                                 core::quote(text)));
  return entry;
}

}  // namespace

std::vector<ModelEntry> parse_model_entries(const std::string& text) {
  std::vector<ModelEntry> entries = std::filesystem::is_directory(text)
                                        ? entries_of_folder(text)
                                        : std::vector{parse_entry(text)};
  for (const ModelEntry& entry : entries) check_name(entry.name);
  return entries;
}

ServedModels::ServedModels(std::vector<ModelEntry> entries, const Options& options,
                           const BatcherOptions& batcher_options, Log log)
    : entries_(std::move(entries)),
      options_(options),
      batcher_options_(batcher_options),
      log_(std::move(log)) {
  if (entries_.empty()) throw UsageError("serve: there is no model to serve");
  std::set<std::pair<std::string, int>> seen;
  for (const ModelEntry& entry : entries_) {
    check_name(entry.name);
    if (!seen.emplace(entry.name, entry.version).second)
      throw UsageError(
          fmt::format("model \"{}\": version {} is given twice; name one NAME=PATH or "
                      "NAME@VERSION=PATH",
                      entry.name, entry.version));
  }
  for (const ModelEntry& entry : entries_) {
    stamps_.push_back(stamp_of(entry.path));
    models_.push_back(load(entry));
  }
}

ServedModels::~ServedModels() {
  // The last reference to a model may be held by its own thread, which has just answered a request
  // and could not wait for its own end. So the threads are ended here.
  for (const auto* const models : {&models_, &replaced_})
    for (const auto& model : *models) model->batcher.close();
}

std::shared_ptr<ServedModel> ServedModels::load(const ModelEntry& entry) const {
  BatcherOptions options = batcher_options_;
  options.on_alarm = [log = log_, name = entry.name](const WatchStats& watch) {
    log("error", name + ": alarm of the watch: " + watch.why);
  };
  auto model = std::make_shared<ServedModel>(entry, options_, options);
  for (const std::string& note : model->model.notes()) log_("warning", entry.name + ": " + note);
  return model;
}

ServedModels::Stamp ServedModels::stamp_of(const std::filesystem::path& path) {
  std::error_code error;
  Stamp stamp;
  stamp.time = std::filesystem::last_write_time(path, error);
  stamp.size = std::filesystem::file_size(path, error);
  return stamp;
}

std::shared_ptr<ServedModel> ServedModels::find(std::string_view name,
                                                std::string_view version) const {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<ServedModel> found;
  for (const auto& model : models_) {
    if (model->name != name) continue;
    if (version.empty() ? !found || model->version > found->version
                        : std::to_string(model->version) == version)
      found = model;
  }
  return found;
}

std::shared_ptr<ServedModel> ServedModels::first() const {
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    name = models_.front()->name;
  }
  return find(name);
}

std::vector<std::shared_ptr<ServedModel>> ServedModels::all() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

void ServedModels::reload(bool all) {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const ModelEntry& entry = entries_[i];
    const Stamp stamp = stamp_of(entry.path);
    if (!all && stamp == stamps_[i]) continue;
    stamps_[i] = stamp;
    std::shared_ptr<ServedModel> fresh;
    try {
      fresh = load(entry);
    } catch (const std::exception& error) {
      log_("error", fmt::format("{}: the new file was refused, the old model stays: {}", entry.name,
                                error.what()));
      continue;
    }
    {
      const std::lock_guard lock(mutex_);
      replaced_.push_back(std::exchange(models_[i], std::move(fresh)));
    }
    log_("info", entry.name + ": loaded again");
  }
}

void ServedModels::free_replaced() {
  std::vector<std::shared_ptr<ServedModel>> unused;
  {
    const std::lock_guard lock(mutex_);
    // A replaced model cannot be found any more, so no new reference to it can appear: a count of
    // one is final.
    for (auto& model : replaced_)
      if (model.use_count() == 1) unused.push_back(std::move(model));
    std::erase(replaced_, nullptr);
  }
}

}  // namespace offramp::serve
