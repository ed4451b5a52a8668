#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "recipe/recipe.h"
#include "workflow/run_folder.h"

namespace offramp::train {

class GradientExchange;

/// Where a run stands after a step.
struct StepReport {
  int epoch = 1, epochs = 1;                   ///< 1-based
  std::int64_t step = 0, steps_per_epoch = 0;  ///< steps done in this epoch
  double loss = 0;                             ///< mean of this epoch so far
  std::vector<double> accuracy;  ///< [K] on augmented training images of this epoch so far
  double learning_rate = 0;
  double images_per_second = 0;
  double seconds_left = 0;
};

struct TrainEvents {
  std::function<void(const std::string&)> message;  ///< one line for people
  std::function<void(const StepReport&)> step;
  std::function<void(const workflow::EpochReport&)> epoch;
};

struct TrainRequest {
  Recipe recipe;                            ///< input size and classes are filled from the data
  const LoadedData* data = nullptr;         ///< training part
  std::filesystem::path run;                ///< run folder; made if missing
  bool resume = false;                      ///< go on from checkpoint.safetensors
  const std::atomic<bool>* stop = nullptr;  ///< set to true: stop after the step, save
  GradientExchange* exchange = nullptr;  ///< called before each update; null: nothing to exchange
};

enum class TrainOutcome { finished, interrupted, already_finished };

/// Trains a network and keeps the files of workflow::RunFolder, whose lock it holds. With one seed
/// and number of threads, an f32 run on the CPU gives the same bits however often it is
/// interrupted.
/// @throws UsageError if recipe and data do not fit; Error if another process is training in the
///         folder, the loss is no longer finite (the last good checkpoint stays), a file cannot be
///         written, or LibTorch fails
TrainOutcome train(const TrainRequest& request, const TrainEvents& events);

/// The graph a recipe builds for images of this size and number of classes.
Graph graph_for(const Recipe& recipe, int height, int width, std::int64_t classes);

}  // namespace offramp::train
