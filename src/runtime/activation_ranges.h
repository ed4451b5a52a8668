#pragma once

#include <span>

#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"

namespace offramp::runtime {

/// Runs images through every exit in f32 and chooses a range for every image tensor. The magnitude
/// of a range has the least mean squared error of quantisation, which consists of rounding within
/// the range (step² / 12, but 0 for zeros) and of saturation beyond it.
/// @param images  [N, C, H, W] f32, normalised: some hundreds of training images
/// @throws Error if there are no images, a parameter is missing, or a value exceeds kMaxMagnitude
model::ActivationRanges observe_ranges(const graph::Graph& graph, const core::Tensors& weights,
                                       std::span<const float> images, int threads);

}  // namespace offramp::runtime
