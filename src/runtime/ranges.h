#pragma once

#include <span>

#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"

namespace offramp {

/// Runs images through every exit in f32 and looks at every tensor. A magnitude is what gives the
/// least mean squared error of quantisation: rounding within the range (step² / 12, but none for
/// zeros) and saturation beyond it.
/// @param images  [N, C, H, W] f32, normalised: images to train on, some hundreds
/// @throws Error if there are none, a parameter is missing, or a value is beyond kMostMagnitude
Ranges observe_ranges(const Graph& graph, const Tensors& weights, std::span<const float> images,
                      int threads);

}  // namespace offramp
