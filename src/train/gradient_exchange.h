#pragma once

#include <torch/torch.h>

#include <span>

namespace offramp::train {

/// Interface through which several processes that train one network exchange their gradients. It is
/// optional: a single process needs none. All calls come from the training thread.
class GradientExchange {
 public:
  virtual ~GradientExchange() = default;

  /// Called once, before the first step.
  /// @param weights     the parameters that are trained, in the order of parameters(graph)
  /// @param statistics  the running means and variances of batch norms
  virtual void prepare([[maybe_unused]] std::span<const torch::Tensor> weights,
                       [[maybe_unused]] std::span<const torch::Tensor> statistics) {}

  /// Called in every step before the backward pass.
  /// @param totals  exchange() reads its values and replaces them by their sums over all processes
  virtual void begin_step([[maybe_unused]] std::span<double> totals) {}

  /// Combines the gradients of all processes. It is called once per step, after the backward pass
  /// and before the update. The loss of each process is weighted with its share of the images of
  /// the step, so the gradient of the whole step is the sum.
  /// @param gradients  gradients of the parameters that have one, in the order of
  ///                   parameters(graph), which is the same in every process. They are changed in
  ///                   place; shape and layout must not change.
  virtual void exchange(std::span<const torch::Tensor> gradients) = 0;
};

}  // namespace offramp::train
