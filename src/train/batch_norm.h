#pragma once

#include <torch/torch.h>

namespace offramp::train {

struct BatchNormTensors {
  torch::Tensor weight, bias;               ///< [C] f32
  torch::Tensor running_mean, running_var;  ///< [C] f32, updated in place when training
};

/// act(batch_norm(x) + residual) in one pass over memory forward and two backward, where LibTorch
/// takes three and six. Channels-last CPU tensors in f32 or bf16; anything else goes through
/// LibTorch's own operations.
/// @param x         [N, C, H, W]
/// @param residual  same shape and type, or undefined
/// Training uses the batch's statistics and updates the running ones (momentum, unbiased variance),
/// as PyTorch.
torch::Tensor batch_norm_act(const torch::Tensor& x, const BatchNormTensors& tensors,
                             const torch::Tensor& residual, bool relu, bool training,
                             double momentum, double eps);

}  // namespace offramp::train
