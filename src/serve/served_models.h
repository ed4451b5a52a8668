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
  std::string name;  ///< in addresses; letters, digits, and . _ -
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
  std::int64_t loaded_ms;                  ///< when it was loaded, in milliseconds since 1970
  std::atomic<std::int64_t> requests = 0;  ///< classify and infer, the refused included
  Batcher batcher;
};

/// The models of a server. Thread-safe.
class ServedModels {
 public:
  /// Told about loads that failed and models that were replaced: one line each.
  using Log = std::function<void(const std::string& level, const std::string& message)>;

  /// Loads all. @throws Error if one cannot be loaded, UsageError for names that make no sense
  ServedModels(std::vector<ModelEntry> entries, const Options& options,
               const BatcherOptions& batcher_options, Log log);
  ~ServedModels();

  /// @param version  empty: the highest  @return nullptr if there is none
  std::shared_ptr<ServedModel> find(std::string_view name, std::string_view version = {}) const;
  /// The first one of the list: what requests without a name mean.
  std::shared_ptr<ServedModel> first() const;
  std::vector<std::shared_ptr<ServedModel>> all() const;

  /// Loads files again: those that changed, or all. A model whose file cannot be loaded stays as it
  /// is. Requests under way are answered by the model that took them. For one thread at a time.
  void reload(bool all);
  /// Frees models that were replaced once nobody uses them.
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
  std::vector<Stamp> stamps_;  // of the last try to load

  mutable std::mutex mutex_;  // guards the rest
  std::vector<std::shared_ptr<ServedModel>> models_;
  std::vector<std::shared_ptr<ServedModel>> replaced_;
};

/// "models/a.safetensors" or "name=path" or "name@2=path", or a folder: all of its files that end
/// in .safetensors, in the order of their names.
/// @throws UsageError
std::vector<ModelEntry> parse_model_entries(const std::string& text);

}  // namespace offramp::serve
