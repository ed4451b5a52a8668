#pragma once

#include <span>

#include "model/model_file.h"

namespace offramp {

/// A model as a deployment file holds it in 8 bits: weights of convolutions in 8 bits with one
/// scale per output channel (the largest weight is 127 steps), those of linear layers in bf16,
/// norms as they were, and the ranges of all activations. Without a policy: what was chosen for
/// other logits says nothing of these.
/// @param images  [N, C, H, W] f32, normalised: images to train on, some hundreds
/// @throws as observe_ranges; Error if the model is a deployment file already
ModelFile quantised_to_int8(const ModelFile& model, std::span<const float> images, int threads);

/// The same for bf16: all weights of convolutions and linear layers in bf16.
ModelFile rounded_to_bf16(const ModelFile& model);

}  // namespace offramp
