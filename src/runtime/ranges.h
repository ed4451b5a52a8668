#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"
#include "runtime/layout.h"
#include "runtime/lower.h"

namespace offramp {

/// Runs images through every exit in f32 and looks at every tensor. A magnitude is what gives the
/// least mean squared error of quantisation: rounding within the range (step² / 12, but none for
/// zeros) and saturation beyond it.
/// @param images  [N, C, H, W] f32, normalised: images to train on, some hundreds
/// @throws Error if there are none, a parameter is missing, or a value is beyond kMostMagnitude
Ranges observe_ranges(const Graph& graph, const Tensors& weights, std::span<const float> images,
                      int threads);

/// The elements of every image of a network. What a pool or a concatenation joins has one scale.
/// @throws Error naming a tensor without a range, or one beyond kLeastMagnitude … kMostMagnitude
std::map<std::string, Element, std::less<>> quantised_elements(
    const std::vector<LoweredSegment>& network, const Ranges& ranges);

}  // namespace offramp
