#pragma once

#include <torch/torch.h>

namespace offramp::train {

/// The parameters and statistics of one batch norm with C channels.
struct BatchNormTensors {
  torch::Tensor weight, bias;               ///< [C] f32
  torch::Tensor running_mean, running_var;  ///< [C] f32, updated in place when training
};

/// Through this interface several processes compute batch norms over all their images.
class MomentsExchange {
 public:
  virtual ~MomentsExchange() = default;
  /// Replaces values [n] f64 by their sums over all processes.
  virtual void sum(const torch::Tensor& values) = 0;
};

/// Computes act(batch_norm(x) + residual), where act is relu or the identity. For channels-last CPU
/// tensors in f32 or bf16, own kernels read memory once forward and twice backward; LibTorch reads
/// it three and six times. All other tensors use LibTorch's operations.
/// @param x         [N, C, H, W]
/// @param residual  tensor of the shape and type of x, or undefined
/// @param training  true: uses the statistics of the batch and updates the running ones as PyTorch
///                  does (momentum, unbiased variance); false: uses the running ones
/// @param exchange  with it, the statistics of the batch are those of the images of all processes,
///                  which must make the same calls in the same order; null for one process
torch::Tensor batch_norm_act(const torch::Tensor& x, const BatchNormTensors& tensors,
                             const torch::Tensor& residual, bool relu, bool training,
                             double momentum, double eps, MomentsExchange* exchange = nullptr);

}  // namespace offramp::train
