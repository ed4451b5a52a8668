#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "recipe/recipe.h"
#include "workflow/run_folder.h"

namespace offramp::train {

class ProcessGroup;

/// The progress of a run after a step.
struct StepReport {
  int epoch = 1, epochs = 1;                   ///< 1-based
  std::int64_t step = 0, steps_per_epoch = 0;  ///< steps done in this epoch
  double loss = 0;                             ///< mean loss of this epoch so far
  /// [K] accuracy on the augmented training images of this epoch so far.
  std::vector<double> accuracy;
  double learning_rate = 0;
  double images_per_second = 0;
  double seconds_left = 0;  ///< estimated time to the end of the run
};

/// Functions that train() calls to report progress, on the thread that called it; each may be
/// empty.
struct TrainEvents {
  std::function<void(const std::string&)> message;          ///< one line of text for the user
  std::function<void(const StepReport&)> step;              ///< called after every step
  std::function<void(const workflow::EpochReport&)> epoch;  ///< called after every epoch
};

/// A request to train a network.
struct TrainRequest {
  recipe::Recipe recipe;                   ///< its input size and classes are taken from the data
  const data::LoadedData* data = nullptr;  ///< the training part
  /// The split of the images into parts; no value: data::split_training() by their labels.
  std::optional<data::Splits> splits = {};
  std::filesystem::path run;  ///< run folder, created if missing
  bool resume = false;        ///< continue from checkpoint.safetensors in the run folder
  const std::atomic<bool>* stop = nullptr;  ///< if it becomes true, train() saves and returns
  /// The processes that train together; null for one. They all call train() with the same recipe
  /// and data; only rank 0 reads and writes the run folder and reports progress.
  ProcessGroup* group = nullptr;
  int processes_here = 1;  ///< number of these processes on this machine; they share its cores
};

/// How train() ended; already_finished if a resumed run had no steps left.
enum class TrainOutcome { finished, interrupted, already_finished };

/// Trains a network and writes the files of workflow::RunFolder, whose lock it holds. An f32 run on
/// the CPU with a given seed and number of threads gives the same bits however often it is
/// interrupted and resumed.
/// @throws UsageError if recipe and data do not fit; Error if another process is training in the
///         folder, the loss is no longer finite (the last good checkpoint stays), a file cannot be
///         written, or LibTorch fails; RanksFailed if another process ended or does not answer
TrainOutcome train(const TrainRequest& request, const TrainEvents& events);

/// Builds the graph of a recipe for images of height x width pixels and a number of classes.
graph::Graph graph_for(const recipe::Recipe& recipe, int height, int width, std::int64_t classes);

}  // namespace offramp::train
