#pragma once

#include <torch/torch.h>

#include <span>

namespace offramp::train {

/// Where processes that train one network together exchange their gradients. A training without one
/// exchanges nothing.
class GradientExchange {
 public:
  virtual ~GradientExchange() = default;

  /// Called once a step, after the backward pass and before the update, on the thread that trains.
  /// @param gradients  of the parameters that have one, in the order of parameters(graph), which is
  ///                   the same in every process; changed in place. Tensors keep shape and layout.
  virtual void exchange(std::span<const torch::Tensor> gradients) = 0;
};

}  // namespace offramp::train
