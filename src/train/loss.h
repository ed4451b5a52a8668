#pragma once

#include <torch/torch.h>

#include <vector>

#include "recipe/recipe.h"

namespace offramp::train {

/// Σ_k w_k [(1 - α) CE(z_k, label) + α T² KL(softmax(z_K / T) ‖ softmax(z_k / T))], the last exit
/// with its CE alone; α = recipe.distill, T its temperature, CE with label smoothing. The last exit
/// teaches and is not taught (its softmax is detached). Be Your Own Teacher (Zhang et al., 2019),
/// equation 4.
/// @param logits   [K] of [N, classes]; undefined exits are left out
/// @param weights  [K]
torch::Tensor exit_loss(const std::vector<torch::Tensor>& logits, const torch::Tensor& labels,
                        const std::vector<double>& weights, const TrainRecipe& recipe);

}  // namespace offramp::train
