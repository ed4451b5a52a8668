#pragma once

#include <span>

#include "model/model_file.h"

namespace offramp::runtime {

/// Makes an int8 deployment file: the weights of convolutions in 8 bits with one scale per output
/// channel (the largest weight is 127 steps), those of linear layers in bf16, batch norms
/// unchanged, and the ranges of all activations. The policy is removed, because it was chosen for
/// the logits of the original model.
/// @param images  [N, C, H, W] f32, normalised: some hundreds of training images
/// @throws as observe_ranges; Error if the model is a deployment file already
model::ModelFile quantised_to_int8(const model::ModelFile& model, std::span<const float> images,
                                   int threads);

/// The same with ranges that are known already. @throws Error if a tensor has no range
model::ModelFile quantised_to_int8(const model::ModelFile& model, model::ActivationRanges ranges);

/// Makes a bf16 deployment file, without a policy: the weights of convolutions and linear layers
/// are rounded to bf16. @throws Error if the model is a deployment file already
model::ModelFile rounded_to_bf16(const model::ModelFile& model);

}  // namespace offramp::runtime
