#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "model/model_file.h"
#include "train/trainer.h"

namespace offramp::train {

/// What a run must remember besides weights and optimiser state.
struct RunState {
  std::int64_t step = 0;              ///< steps done
  double seconds = 0;                 ///< of training so far
  double best_score = -1;             ///< loss-weighted mean accuracy on tune
  double loss_sum = 0;                ///< of the epoch so far, over steps
  std::int64_t seen = 0;              ///< images of the epoch so far
  std::vector<std::int64_t> correct;  ///< [K] of them
  double epoch_seconds = 0;           ///< of the epoch so far
  double epoch_wait = 0;

  Tensors save() const;
  void load(const Tensors& saved, std::size_t exits);
};

/// The files of a run; see train().
class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

  std::filesystem::path file(const char* name) const { return path_ / name; }
  std::filesystem::path checkpoint() const { return file("checkpoint.safetensors"); }
  /// @throws UsageError if a run is there
  void check_free() const;
  /// Makes the folder and writes config.toml. @throws UsageError if a run is there
  void start(const Recipe& recipe) const;
  /// Removes what a killed process had only half written.
  void remove_leftovers() const;
  /// Appends to metrics.jsonl.
  void log(const EpochReport& report) const;
  /// Drops the lines of metrics.jsonl that tell of epochs after `epoch`: they will be run again.
  void forget_after(int epoch) const;

 private:
  std::filesystem::path path_;
};

}  // namespace offramp::train
