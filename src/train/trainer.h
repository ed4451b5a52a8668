#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "recipe/recipe.h"
#include "train/batches.h"
#include "train/gradient_exchange.h"
#include "train/network.h"
#include "train/optimizer.h"
#include "train/run_state.h"

namespace offramp::train {

/// Thrown when the loss or a weight is not a finite number.
class NotFinite : public Error {
 public:
  using Error::Error;
};

/// Trains the weights of a network, one step or one epoch per call. It reads and writes no files.
class Trainer {
 public:
  /// @param network          an initialised network, on the device to train on
  /// @param loss_weights     [K] weights of the exits in the loss
  /// @param steps_per_epoch  number of batches in an epoch
  /// @param exchange         called in each step; null for a single process
  /// @param moments          the exchange by which batch norms use the images of all processes, or
  ///                         null
  /// @throws UsageError if the network cannot run at every size that the recipe trains at
  Trainer(TorchNetwork network, std::vector<double> loss_weights, const recipe::TrainRecipe& recipe,
          std::int64_t steps_per_epoch, GradientExchange* exchange = nullptr,
          MomentsExchange* moments = nullptr);

  const RunState& state() const { return state_; }
  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
  int num_exits() const { return network_.num_exits(); }
  torch::ScalarType precision() const { return mode_.precision; }
  /// The epoch (1-based) of the last step; 0 before the first step.
  int epoch() const;
  /// True if the last step ended an epoch.
  bool is_at_end_of_epoch() const { return state_.step % steps_per_epoch_ == 0; }
  /// [K] accuracy on the augmented training images of this epoch so far.
  std::vector<double> train_accuracy() const;
  /// Learning rate of the last step.
  double last_rate() const { return last_rate_; }

  /// Makes one step: forward, backward, exchange of gradients, update.
  /// @throws NotFinite if the loss is not finite; the weights are then unchanged
  void step(Batches& batches);
  /// Makes steps until the epoch ends or `after_step`, called after each step, returns false.
  /// @return true if the epoch is complete
  bool run_epoch(Batches& batches, const std::function<bool()>& after_step);
  /// Sets the sums of the epoch to zero and stores the best score of the run so far.
  void begin_epoch(double best_score);
  /// Makes every step find out whether `stop` is true in any of the processes.
  void watch(const std::atomic<bool>* stop) { stop_ = stop; }
  /// Whether `stop` was true in any process in the last step. The result is the same in all
  /// processes.
  bool stop_agreed() const { return stop_agreed_; }
  /// Parameters and running statistics by name.
  const std::map<std::string, torch::Tensor>& tensors() const { return network_.tensors(); }

  /// Checks that all weights are finite, which an update may have changed.
  /// @throws NotFinite naming the first weight that is not
  void check_weights() const;

  /// Calls `work(network, mode)` with the network as it would be deployed: in inference mode, with
  /// the averaged weights if there is an average. The trained weights are restored afterwards.
  template <typename F>
  auto with_deployed(const F& work)
      -> decltype(work(std::declval<TorchNetwork&>(), std::declval<const TorchNetwork::Mode&>())) {
    const AverageSwap swapped(average_, network_);
    TorchNetwork::Mode mode = mode_;
    mode.training = mode.last_exit_only = false;
    return work(network_, mode);
  }
  bool has_average() const { return average_.has_value(); }

  /// Returns the trained weights, not the averaged ones.
  core::Tensors weights() const { return network_.save(); }
  /// Returns the state that training needs beside the weights to continue.
  core::Tensors save() const;
  /// Restores the results of weights() and save().
  /// @throws Error if a tensor is missing or belongs to another network
  void load(const core::Tensors& weights, const core::Tensors& saved);

 private:
  struct AverageSwap {
    AverageSwap(std::optional<WeightAverage>& with, TorchNetwork& in) : average(with), network(in) {
      if (average) average->swap(network);
    }
    ~AverageSwap() {
      if (average) average->swap(network);
    }
    AverageSwap(const AverageSwap&) = delete;
    AverageSwap& operator=(const AverageSwap&) = delete;
    std::optional<WeightAverage>& average;
    TorchNetwork& network;
  };

  void check_sizes() const;
  void freeze_backbone();
  std::vector<torch::Tensor> changing_statistics() const;
  double joint_backward(const TensorBatch& batch, double rate, std::vector<torch::Tensor>& logits);
  double frozen_backward(const TensorBatch& batch, double rate, std::vector<torch::Tensor>& logits);
  torch::Tensor resized(const torch::Tensor& images) const;
  [[noreturn]] void throw_not_finite(const std::vector<torch::Tensor>& logits, double loss,
                                     double rate) const;

  TorchNetwork network_;
  std::vector<double> loss_weights_;
  recipe::TrainRecipe recipe_;
  std::int64_t steps_per_epoch_;
  GradientExchange* exchange_;
  const std::atomic<bool>* stop_ = nullptr;
  bool stop_agreed_ = false;
  TorchNetwork::Mode mode_;
  std::optional<WeightUpdater> updater_;
  std::optional<WeightAverage> average_;
  RunState state_;
  double last_rate_ = 0;
};

}  // namespace offramp::train
