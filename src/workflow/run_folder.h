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

/// The results of one training epoch: a line of metrics.jsonl.
struct EpochReport {
  int epoch = 1;   ///< 1-based
  int epochs = 1;  ///< number of epochs of the run
  double loss = 0;
  /// [K] accuracy on the augmented training images, counted during the training steps
  std::vector<double> train_accuracy;
  /// [K] metrics of the averaged weights, if they exist.
  std::vector<double> tune_accuracy, tune_nll;
  double learning_rate = 0;
  double images_per_second = 0;
  double seconds = 0;      ///< training time since the start of the run, without interruptions
  double loader_wait = 0;  ///< share of the epoch's time in which training waited for images
  bool best = false;       ///< this epoch is the best on tune so far
};

/// Facts about the training of a model, besides its data. Optional members and strings may be empty
/// in models that other programs wrote.
struct TrainingDetails {
  std::string recipe;  ///< TOML
  std::optional<std::uint64_t> seed = {};
  std::string commit, version;            ///< commit and version of offramp
  std::optional<std::int64_t> step = {};  ///< number of training steps
  std::optional<double> epoch = {};       ///< training steps / steps per epoch
  std::string precision, device;
  std::optional<int> threads = {};
  std::optional<double> seconds = {};      ///< training time
  std::vector<double> tune_accuracy = {};  ///< [K] accuracy after the last complete epoch
};

/// Returns the JSON text for Provenance::details_json.
std::string to_json(const TrainingDetails& details);
/// Reads the details of a model. A member stays empty if its key is missing or has another type.
TrainingDetails training_details(const model::ModelFile& model);

/// The files of a training run: config.toml (the complete recipe), metrics.jsonl (one line per
/// epoch), checkpoint.safetensors (all that resuming needs), last.safetensors, ema.safetensors (if
/// weights are averaged), best.safetensors (the epoch with the best result on tune),
/// model.safetensors (equal to best) and report.html. All code that reads or writes these files
/// uses this class.
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
  /// The folder of a run that trains heads at all cut points, if exits were searched for here.
  std::filesystem::path heads() const { return path_ / "heads"; }

  /// All files of a run that the report does not replace.
  std::vector<std::filesystem::path> files() const {
    return {config(), metrics(), checkpoint(), last(), ema(), best(), model()};
  }

  // Reading.

  /// The text of config.toml; empty if there is none.
  std::string recipe_text() const;
  /// The epochs in metrics.jsonl. A line that is not an epoch is skipped, for example a last line
  /// that was only partly written.
  std::vector<EpochReport> epochs() const;

  // Writing. Only the process that holds the folder's lock may write.

  /// @throws Error if another process is training in the folder
  void check_not_training() const;
  /// @throws UsageError if the folder holds a run, a search for exits or another model; Error if
  /// another process is training in it
  void check_free() const;
  /// Locks an existing folder while a command writes into it.
  /// @throws Error if another process is training in it
  core::FileLock lock() const;
  /// Starts a run: creates the folder, locks it, writes config.toml and an empty metrics.jsonl.
  /// @return the lock, which must be held during the run
  /// @throws as check_free
  core::FileLock start(const recipe::Recipe& recipe) const;
  /// Resumes a run: locks its folder and removes files that a killed process had partly written.
  /// @return the lock, which must be held during the run
  /// @throws UsageError if there is no checkpoint; Error if another process is training in it
  core::FileLock resume() const;

  /// Replaces one of the folder's model files. Other commands may have changed the folder's files
  /// during the training, so the new file keeps the highest number of attempts to certify with
  /// the run's certify images (it is also stored in `model`), and the policy of the replaced file.
  /// The guarantee of that policy and the shares of its exits are removed, because they were
  /// measured with other weights.
  /// @param extra  tensors besides the weights: optimiser state
  /// @return       true if the file keeps a policy that was chosen for other weights
  bool save(const std::filesystem::path& file, model::ModelFile& model,
            const core::Tensors& extra = {}) const;
  /// The highest number of attempts to certify with the certify images of `model` that one of the
  /// folder's files records.
  int recorded_attempts(const model::ModelFile& model) const;

  /// Appends a line to metrics.jsonl.
  void log(const EpochReport& report) const;
  /// Removes the lines of metrics.jsonl for epochs after `epoch`, because these will be run again.
  void remove_epochs_after(int epoch) const;

 private:
  /// @throws UsageError if the folder holds a run, a search for exits or another model
  void check_empty() const;

  std::filesystem::path path_;
};

/// A run folder, or a single model file.
struct FoundRun {
  std::string name;  ///< name of the folder or of the file, for people
  std::filesystem::path model;
  std::filesystem::path folder;  ///< the folder that contains the model
};

/// @param path  path of a run folder or a model file @throws Error if a folder contains no model
FoundRun find_run(const std::string& path);

/// The model file that a path stands for: the model of a run folder, or the path itself.
/// @throws Error if a folder contains no model
std::filesystem::path model_path(const std::string& path);

/// The recipe in the run's folder, or else the one in the model; empty if neither has one.
std::string recipe_text(const FoundRun& run, const model::ModelFile& model);

}  // namespace offramp::workflow
