#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/model_file.h"
#include "runtime/compiled_network.h"

namespace offramp::engine {

/// The number of images whose logits a deployment file stores. The images are random numbers drawn
/// from a seed, so that a model file contains no real image.
inline constexpr int kCheckedImages = 2;

/// Computes the logits of every exit, one image after the other on the calling thread's OpenMP
/// threads. @param images  [N, C, H, W], normalised. @return [N, K, classes]
std::vector<float> image_major_logits(
    const std::shared_ptr<const runtime::CompiledNetwork>& network, std::span<const float> images);

/// Computes the logits of every exit for the images drawn from `seed`. @return [images, K, classes]
std::vector<float> logits_to_store(const std::shared_ptr<const runtime::CompiledNetwork>& network,
                                   const graph::Graph& graph, std::uint64_t seed);

/// Whether a network compiled here computes the logits that the file stores, with an error at each
/// exit of at most 2 % of the exit's largest logit. The tolerance allows for kernels that round
/// differently; 8-bit products that saturate, on a CPU without the right instructions, cause much
/// larger errors. True if the file stores no logits.
bool gives_stored_logits(const std::shared_ptr<const runtime::CompiledNetwork>& network,
                         const model::ModelFile& model);

}  // namespace offramp::engine
