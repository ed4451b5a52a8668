#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"

namespace offramp::graph {

/// Returns random f32 weights for every parameter of a graph. Convolutions are scaled as by He et
/// al. (2015), batch norm weights are near 1 and running variances positive. A tensor depends only
/// on the seed, its name and its shape, so a network and its variant with exits have the same
/// backbone.
core::Tensors random_weights(const Graph& graph, std::uint64_t seed);

/// Returns standard normal images [N, C, H, W] of the input size of a graph. A seed must give the
/// same images in every version of the program, because deployment files store the logits of such
/// images.
std::vector<float> random_images(const Graph& graph, int count, std::uint64_t seed);

}  // namespace offramp::graph
