#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "model/model_file.h"
#include "recipe/recipe.h"

namespace offramp::workflow {

/// What one epoch of a training measured: a line of metrics.jsonl.
struct EpochReport {
  int epoch = 1, epochs = 1;  ///< 1-based
  double loss = 0;
  std::vector<double>
      train_accuracy;  ///< [K] on augmented training images, while they were learned
  std::vector<double> tune_accuracy, tune_nll;  ///< [K] of the averaged weights where there are any
  double learning_rate = 0;
  double images_per_second = 0;
  double seconds = 0;      ///< of training, since the beginning of the run, without interruptions
  double loader_wait = 0;  ///< share of the epoch's time spent waiting for images
  bool best = false;       ///< the best on tune so far
};

/// What a model remembers of its training, beside its data. Optional members and empty texts are
/// of models that other programs made.
struct TrainingDetails {
  std::string recipe;  ///< TOML
  std::optional<std::uint64_t> seed = {};
  std::string commit, version;  ///< of offramp
  std::optional<std::int64_t> step = {};
  std::optional<double> epoch = {};  ///< steps done / steps per epoch
  std::string precision, device;
  std::optional<int> threads = {};
  std::optional<double> seconds = {};      ///< of training
  std::vector<double> tune_accuracy = {};  ///< [K] after the last whole epoch
};

/// As Provenance::details_json keeps it.
std::string to_json(const TrainingDetails& details);
/// The details of a model. What is missing, or of another type than we write, stays empty.
TrainingDetails training_details(const ModelFile& model);

/// The files of a training run: config.toml (the recipe, complete), metrics.jsonl (a line an
/// epoch), checkpoint.safetensors (all that is needed to go on), last.safetensors, ema.safetensors
/// (with a weight average), best.safetensors (best on tune), model.safetensors (= best) and
/// report.html. Who writes them and who reads them both do it through this class.
class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.toml"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path checkpoint() const { return path_ / "checkpoint.safetensors"; }
  std::filesystem::path last() const { return path_ / "last.safetensors"; }
  std::filesystem::path ema() const { return path_ / "ema.safetensors"; }
  std::filesystem::path best() const { return path_ / "best.safetensors"; }
  std::filesystem::path model() const { return path_ / "model.safetensors"; }
  std::filesystem::path report() const { return path_ / "report.html"; }

  // Reading.

  /// The text of config.toml; empty if there is none.
  std::string recipe_text() const;
  /// The lines of metrics.jsonl. One that is no epoch, a last one cut short say, is skipped.
  std::vector<EpochReport> epochs() const;

  // Writing: by the one process that holds the folder's lock.

  /// @throws Error if another process is training in the folder
  void check_not_training() const;
  /// @throws UsageError if a run is in the folder; Error if another process is training in it
  void check_free() const;
  /// Begins a run: makes the folder, locks it, writes config.toml and an empty metrics.jsonl.
  /// @return the lock, to be held while the run goes on
  /// @throws as check_free
  FileLock start(const Recipe& recipe) const;
  /// Goes on with a run: locks its folder and removes what a killed process had only half written.
  /// @return the lock, to be held while the run goes on
  /// @throws UsageError if there is no checkpoint; Error if another process is training in it
  FileLock resume() const;

  /// Replaces one of the folder's model files. Of what others wrote into the folder meanwhile, it
  /// keeps the number of certificates drawn from the run's certify images (in `model` too), and
  /// the policy of the file that is replaced, as somebody chose it. What was measured of that
  /// policy, its guarantee and the shares of its exits, goes: it was of other weights.
  /// @param extra  tensors beside the weights: optimiser state
  /// @return       true if the file keeps a policy that was chosen for other weights
  bool save(const std::filesystem::path& file, ModelFile& model, const Tensors& extra = {}) const;
  /// The most certificates that a file of the folder knows of, drawn from the images that `model`
  /// certifies on.
  int certificates_drawn(const ModelFile& model) const;

  /// Appends a line to metrics.jsonl.
  void log(const EpochReport& report) const;
  /// Removes the lines of metrics.jsonl for epochs after `epoch`: they will be run again.
  void forget_after(int epoch) const;

 private:
  FileLock lock() const;

  std::filesystem::path path_;
};

/// A run folder, or a model file alone.
struct FoundRun {
  std::string name;  ///< for people: the folder's, or the file's
  std::filesystem::path model;
  std::filesystem::path folder;  ///< the one that holds the model
};

/// @throws Error if `path` is a folder without a model
FoundRun find_run(const std::string& path);

/// The recipe as the run keeps it, or as the model remembers it; empty if neither does.
std::string recipe_text(const FoundRun& run, const ModelFile& model);

}  // namespace offramp::workflow
