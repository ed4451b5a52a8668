#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"
#include "runtime/compiled_network.h"
#include "runtime/lower.h"
#include "runtime/memory_plan.h"
#include "runtime/precision.h"
#include "runtime/weight_store.h"

namespace offramp::runtime {

struct CompileOptions {
  Precision precision = Precision::f32;
  std::vector<int> batches = {1};  ///< batch sizes to compile every segment for; 1 is always added
  int threads = 1;                 ///< number of threads that share one operation
  model::ActivationRanges ranges = {};  ///< ranges of the activations, for int8 only
  /// Limit on the weights and one workspace together. A network that needs more is refused before
  /// the memory is allocated.
  std::size_t max_bytes = kMaxNetworkBytes;
};

/// Compiles a network: fuses batch norms, additions and activations into the convolutions before
/// them, lets oneDNN choose the layouts and assigns every buffer its place in memory.
/// @param weights  source of the model's weights; each is requested once
/// @param store    keeps the reordered weights; share it among the compilations of one model
/// @throws Error if a parameter or a range is missing, the CPU lacks the precision, the network
///         needs more than options.max_bytes, or oneDNN fails
std::shared_ptr<const CompiledNetwork> compile(const graph::Graph& graph,
                                               const WeightSource& weights,
                                               const CompileOptions& options, WeightStore& store);
std::shared_ptr<const CompiledNetwork> compile(const graph::Graph& graph,
                                               const core::Tensors& weights,
                                               const CompileOptions& options, WeightStore& store);

}  // namespace offramp::runtime
