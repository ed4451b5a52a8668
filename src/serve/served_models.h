#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "offramp/model.h"
#include "serve/batcher.h"

namespace offramp::serve {

/// A model file to serve.
struct ModelEntry {
  std::string name;  ///< name in addresses: letters, digits, and . _ -
  int version = 1;
  std::filesystem::path path;
};

/// A loaded model, its queue and its thread.
struct ServedModel {
  ServedModel(const ModelEntry& entry, const Options& options,
              const BatcherOptions& batcher_options)
      : name(entry.name),
        version(entry.version),
        model(Model::load(entry.path, options)),
        loaded_ms(std::chrono::duration_cast<std::chrono::milliseconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count()),
        batcher(model, batcher_options) {}

  std::string name;
  int version;
  Model model;
  std::int64_t loaded_ms;  ///< time when it was loaded, in milliseconds since 1970
  /// Number of classify and infer requests, including refused ones.
  std::atomic<std::int64_t> requests = 0;
  Batcher batcher;
};

/// The models of a server. Thread-safe.
class ServedModels {
 public:
  /// Called with one line about a load that failed or a model that was replaced.
  using Log = std::function<void(const std::string& level, const std::string& message)>;

  /// Loads all models. @throws Error if one cannot be loaded, UsageError for invalid names
  ServedModels(std::vector<ModelEntry> entries, const Options& options,
               const BatcherOptions& batcher_options, Log log);
  ~ServedModels();

  /// @param version  empty: the highest version  @return nullptr if there is no such model
  std::shared_ptr<ServedModel> find(std::string_view name, std::string_view version = {}) const;
  /// Returns the first model of the list, which answers requests without a name.
  std::shared_ptr<ServedModel> first() const;
  std::vector<std::shared_ptr<ServedModel>> all() const;

  /// Loads the files that changed, or all files, again. If a file cannot be loaded, its model stays
  /// as it is. Current requests are answered by the model that accepted them. One thread at a time
  /// may call this.
  void reload(bool all);
  /// Frees the replaced models that are no longer used.
  void free_replaced();

 private:
  struct Stamp {
    std::filesystem::file_time_type time;
    std::uintmax_t size = 0;
    bool operator==(const Stamp&) const = default;
  };
  static Stamp stamp_of(const std::filesystem::path& path);
  std::shared_ptr<ServedModel> load(const ModelEntry& entry) const;

  const std::vector<ModelEntry> entries_;
  const Options options_;
  const BatcherOptions batcher_options_;
  const Log log_;
  std::vector<Stamp> stamps_;  // the files' states at the last attempt to load them

  mutable std::mutex mutex_;  // guards the members below
  std::vector<std::shared_ptr<ServedModel>> models_;
  std::vector<std::shared_ptr<ServedModel>> replaced_;
};

/// Parses "models/a.safetensors", "name=path", "name@2=path", or a folder, which stands for all of
/// its files that end in .safetensors, in the order of their names. @throws UsageError
std::vector<ModelEntry> parse_model_entries(const std::string& text);

}  // namespace offramp::serve
