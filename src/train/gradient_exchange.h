#pragma once

#include <torch/torch.h>

#include <span>

namespace offramp::train {

/// Interface through which several processes that train one network exchange their gradients. It is
/// optional: a single process needs none.
class GradientExchange {
 public:
  virtual ~GradientExchange() = default;

  /// Combines the gradients of all processes. It is called once per step, after the backward pass
  /// and before the update, on the training thread.
  /// @param gradients  gradients of the parameters that have one, in the order of
  ///                   parameters(graph), which is the same in every process. They are changed in
  ///                   place; shape and layout must not change.
  virtual void exchange(std::span<const torch::Tensor> gradients) = 0;
};

}  // namespace offramp::train
