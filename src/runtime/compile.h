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

namespace offramp {

struct CompileOptions {
  Precision precision = Precision::f32;
  std::vector<int> batches = {1};  ///< sizes to compile every segment for; 1 is always there
  int threads = 1;                 ///< that share one operation
  Ranges ranges = {};              ///< for int8
  /// Of one network's weights and one workspace; what needs more is refused before it is allocated.
  std::size_t most_bytes = kMostBytes;
};

/// Compiles a network: batch norms, additions and activations join their convolutions, layouts are
/// oneDNN's choice, every buffer has its place.
/// @param weights  of the model; asked for each once
/// @param store    shared by compilations of one model: what they have in common is kept once
/// @throws Error if a parameter or a range is missing, the CPU lacks the precision, the network
///         needs more than options.most_bytes, or oneDNN fails
std::shared_ptr<const CompiledNetwork> compile(const Graph& graph, const WeightSource& weights,
                                               const CompileOptions& options, WeightStore& store);
std::shared_ptr<const CompiledNetwork> compile(const Graph& graph, const Tensors& weights,
                                               const CompileOptions& options, WeightStore& store);

}  // namespace offramp
