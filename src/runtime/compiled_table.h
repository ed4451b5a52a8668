#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"
#include "runtime/precision.h"

namespace offramp::runtime {

/// The result of compiling a network, as text for `offramp info --compiled`.
struct CompiledTable {
  struct Row {
    std::string segment;  ///< number from 1, with " head" for a head: "1", "1 head"
    std::string output, kind, implementation;
    std::vector<std::string> srcs;  ///< layouts, for example "bf16 [64,32,32] channels last"
    std::string dst;
  };
  std::vector<Row> rows;  ///< in execution order
  std::string precision;  ///< the precision that was compiled for
  int batch = 1, threads = 1;
  std::size_t weight_bytes = 0;     ///< size of the reordered weights, which all streams share
  std::size_t workspace_bytes = 0;  ///< size per stream of the arena and the inputs
};

struct CompiledTableOptions {
  /// If the CPU lacks the instructions, the next wider precision is used.
  Precision precision = Precision::f32;
  int threads = 1;  ///< number of threads that share one operation; 0 means 1
  int batch = 1;
  model::ActivationRanges ranges = {};  ///< ranges of the activations, for int8 only
};

/// Compiles a network for one batch size and for single images, which share the weights.
/// @throws Error if a parameter is missing or oneDNN fails
CompiledTable compiled_table(const graph::Graph& graph, const core::Tensors& weights,
                             const CompiledTableOptions& options);

}  // namespace offramp::runtime
