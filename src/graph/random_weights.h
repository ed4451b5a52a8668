#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"

namespace offramp {

/// Weights of a sane scale for every parameter of a graph, f32: convolutions after He et al.
/// (2015), norm weights near 1, running variances positive, nothing zero. A tensor depends on the
/// seed, its name and its shape alone, so a network and its variant with exits share what they have
/// in common.
Tensors random_weights(const Graph& graph, std::uint64_t seed);

/// Standard normal images [N, C, H, W] for a graph. Part of the model format: a deployment file
/// keeps the logits of images drawn here, so a seed gives the same images in every version.
std::vector<float> random_images(const Graph& graph, int count, std::uint64_t seed);

}  // namespace offramp
