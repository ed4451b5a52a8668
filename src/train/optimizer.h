#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "recipe/recipe.h"
#include "train/network.h"

namespace offramp::train {

/// SGD with (Nesterov) momentum as PyTorch defines it, or AdamW (Loshchilov and Hutter, 2019), in
/// one pass over weights, gradients and state. Weight decay acts on the weights of convolutions and
/// linear layers only.
class WeightUpdater {
 public:
  /// Updates the parameters of `network` that require gradients.
  WeightUpdater(TorchNetwork& network, const TrainRecipe& recipe);

  /// The gradients present, in the order of parameters(graph).
  std::vector<torch::Tensor> gradients() const;

  /// One step with the gradients present; a parameter without gradient stays. Clears the gradients.
  void step(double learning_rate);

  /// State by name, "optimizer.<state>.<parameter>", for checkpoints.
  Tensors save() const;
  /// @throws Error if a tensor is missing or has another shape
  void load(const Tensors& saved);

 private:
  struct Slot {
    std::string name;
    torch::Tensor weight;
    torch::Tensor momentum;  // AdamW: first moment
    torch::Tensor second;    // AdamW only
    bool decays = false;
    std::int64_t steps = 0;
  };
  std::vector<Slot> slots_;
  TrainRecipe recipe_;
};

/// A running average of all weights and statistics: average ← d average + (1 - d) weights, where
/// d = min(decay, (1 + t) / (10 + t)) after t updates, so that early values are forgotten.
class WeightAverage {
 public:
  WeightAverage(const TorchNetwork& network, double decay);
  void update(const TorchNetwork& network);
  /// Swaps the averaged values with the network's own; call again to undo.
  void swap(TorchNetwork& network);

  Tensors save() const;  ///< "ema.<parameter>" and "ema_updates"
  void load(const Tensors& saved);

 private:
  std::map<std::string, torch::Tensor> average_;
  double decay_;
  std::int64_t updates_ = 0;
};

}  // namespace offramp::train
