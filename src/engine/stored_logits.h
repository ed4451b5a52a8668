#pragma once

#include <memory>

#include "model/model_file.h"
#include "runtime/compiled_network.h"

namespace offramp::engine {

/// Images that a deployment file keeps logits of: drawn from a seed, so that no picture of anyone's
/// ships with a model.
inline constexpr int kCheckedImages = 2;

/// What every exit says of the drawn images. @return  [images, K, classes]
std::vector<float> logits_to_store(const std::shared_ptr<const CompiledNetwork>& network,
                                   const Graph& graph, std::uint64_t seed);

/// Whether a network compiled here says what the file keeps, at each exit to within 2 % of its
/// largest logit: other kernels may round a tie elsewhere, but 8-bit products that saturate on a
/// CPU without the right instructions give something else altogether. True where the file keeps
/// nothing.
bool gives_stored_logits(const std::shared_ptr<const CompiledNetwork>& network,
                         const ModelFile& model);

}  // namespace offramp::engine
