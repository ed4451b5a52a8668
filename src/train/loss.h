#pragma once

#include <torch/torch.h>

#include <vector>

#include "recipe/recipe.h"

namespace offramp::train {

/// Computes the training loss
/// Σ_k w_k [(1 - α) CE(z_k, label) + α T² KL(softmax(z_K / T) ‖ softmax(z_k / T))],
/// where α = recipe.distill, T is the temperature of the distillation and CE uses label smoothing.
/// The term of the last exit K is w_K CE(z_K, label). The last exit is the teacher: no gradient of
/// the KL term reaches it. Equation 4 of Be Your Own Teacher (Zhang et al., 2019).
/// @param logits   [K] tensors [N, classes]; undefined tensors are skipped
/// @param labels   [N] i64
/// @param weights  [K] the weights w_k
torch::Tensor exit_loss(const std::vector<torch::Tensor>& logits, const torch::Tensor& labels,
                        const std::vector<double>& weights, const recipe::TrainRecipe& recipe);

}  // namespace offramp::train
