#pragma once

#include <cstdint>
#include <functional>
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

/// The loss or a weight is no longer a finite number.
class NotFinite : public Error {
 public:
  using Error::Error;
};

/// Learns the weights of a network, a step or an epoch at a time. Knows no files.
class Trainer {
 public:
  /// @param network          initialised, on the device to train on
  /// @param loss_weights     [K]
  /// @param steps_per_epoch  of the batches to come
  /// @param exchange         called before each update; null: nothing is exchanged
  /// @throws UsageError if the network cannot run at every size that the recipe trains at
  Trainer(TorchNetwork network, std::vector<double> loss_weights, const TrainRecipe& recipe,
          std::int64_t steps_per_epoch, GradientExchange* exchange = nullptr);

  const RunState& state() const { return state_; }
  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
  int num_exits() const { return network_.num_exits(); }
  torch::ScalarType precision() const { return mode_.precision; }
  /// The epoch (1-based) that the last step was in; 0 before the first.
  int epoch() const;
  /// True if the last step ended an epoch.
  bool is_at_end_of_epoch() const { return state_.step % steps_per_epoch_ == 0; }
  /// [K] On the augmented images of this epoch so far.
  std::vector<double> train_accuracy() const;
  /// Learning rate of the last step.
  double last_rate() const { return last_rate_; }

  /// One step: forward, backward, exchange of gradients, update.
  /// @throws NotFinite if the loss is not finite; the weights are then as before the step
  void step(Batches& batches);
  /// Steps to the end of the epoch; `after_step` may end it earlier by returning false.
  /// @return true if the epoch is complete
  bool run_epoch(Batches& batches, const std::function<bool()>& after_step);
  /// Begins the sums of the next epoch, and notes the score of the best so far.
  void begin_epoch(double best_score);

  /// @throws NotFinite naming a weight that is not finite: the last update may have spoilt it
  void check_weights() const;

  /// Calls `work(network, mode)` with the network as it would be deployed: with the averaged
  /// weights where there is an average, not training.
  template <typename F>
  auto with_deployed(const F& work)
      -> decltype(work(std::declval<TorchNetwork&>(), std::declval<const TorchNetwork::Mode&>())) {
    const Swapped swapped(average_, network_);
    TorchNetwork::Mode mode = mode_;
    mode.training = mode.last_exit_only = false;
    return work(network_, mode);
  }
  bool has_average() const { return average_.has_value(); }

  /// The weights as they are trained.
  Tensors weights() const { return network_.save(); }
  /// All that training needs to go on, beside the weights.
  Tensors save() const;
  /// @throws Error if something is missing or of another network
  void load(const Tensors& weights, const Tensors& saved);

 private:
  struct Swapped {
    Swapped(std::optional<WeightAverage>& with, TorchNetwork& in) : average(with), network(in) {
      if (average) average->swap(network);
    }
    ~Swapped() {
      if (average) average->swap(network);
    }
    Swapped(const Swapped&) = delete;
    Swapped& operator=(const Swapped&) = delete;
    std::optional<WeightAverage>& average;
    TorchNetwork& network;
  };

  void check_sizes() const;
  void freeze_backbone();
  torch::Tensor resized(const torch::Tensor& images) const;
  [[noreturn]] void throw_not_finite(const std::vector<torch::Tensor>& logits, double loss,
                                     double rate) const;

  TorchNetwork network_;
  std::vector<double> loss_weights_;
  TrainRecipe recipe_;
  std::int64_t steps_per_epoch_;
  GradientExchange* exchange_;
  TorchNetwork::Mode mode_;
  std::optional<WeightUpdater> updater_;
  std::optional<WeightAverage> average_;
  RunState state_;
  double last_rate_ = 0;
};

}  // namespace offramp::train
