#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "recipe/recipe.h"
#include "train/network.h"

namespace offramp::train {

/// Updates weights by SGD with (Nesterov) momentum as PyTorch defines it, or by AdamW (Loshchilov
/// and Hutter, 2019). Each step passes once over weights, gradients and state. Weight decay applies
/// only to the weights of convolutions and linear layers.
class WeightUpdater {
 public:
  /// Prepares to update the parameters of `network` that require gradients.
  WeightUpdater(TorchNetwork& network, const recipe::TrainRecipe& recipe);

  /// Returns the parameters that are trained, in the order of parameters(graph).
  std::vector<torch::Tensor> weights() const;
  /// Returns the gradients that exist, in the order of parameters(graph).
  std::vector<torch::Tensor> gradients() const;

  /// Updates every parameter that has a gradient, then clears the gradients.
  void step(double learning_rate);

  /// Returns the state for a checkpoint, by name: "optimizer.<state>.<parameter>".
  core::Tensors save() const;
  /// Restores the state that save() returned.
  /// @throws Error if a tensor is missing or has another shape
  void load(const core::Tensors& saved);

 private:
  struct Slot {
    std::string name;
    torch::Tensor weight;
    torch::Tensor momentum;  // momentum of SGD, first moment of AdamW
    torch::Tensor second;    // second moment of AdamW; undefined for SGD
    bool decays = false;
    std::int64_t steps = 0;
  };
  std::vector<Slot> slots_;
  recipe::TrainRecipe recipe_;
};

/// An exponential moving average of all weights and running statistics:
/// average ← d average + (1 - d) weights with d = min(decay, (1 + t) / (10 + t)) after t updates.
/// The smaller d of the first updates keeps the initial weights out of the average.
class WeightAverage {
 public:
  WeightAverage(const TorchNetwork& network, double decay);
  /// Adds the current weights of the network to the average.
  void update(const TorchNetwork& network);
  /// Swaps the averaged values with those of the network; a second call restores them.
  void swap(TorchNetwork& network);

  /// Returns the state for a checkpoint, by name: "ema.<parameter>" and "ema_updates".
  core::Tensors save() const;
  /// Restores the state that save() returned.
  /// @throws Error if a tensor is missing or has another shape
  void load(const core::Tensors& saved);

 private:
  std::map<std::string, torch::Tensor> average_;
  double decay_;
  std::int64_t updates_ = 0;
};

}  // namespace offramp::train
