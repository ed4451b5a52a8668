#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"
#include "runtime/precision.h"

namespace offramp {

/// What a network was compiled to, for people and programs.
struct CompiledTable {
  struct Row {
    std::string segment;  ///< "1", "1 head"
    std::string output, kind, implementation;
    std::vector<std::string> srcs;  ///< layouts: "bf16 [64,32,32] channels last"
    std::string dst;
  };
  std::vector<Row> rows;  ///< in execution order
  std::string precision;  ///< that the CPU has instructions for
  int batch = 1, threads = 1;
  std::size_t weight_bytes = 0;     ///< in their compiled layouts, shared by all streams
  std::size_t workspace_bytes = 0;  ///< of a stream: arena and inputs of all segments
};

struct CompiledTableOptions {
  Precision precision = Precision::f32;  ///< or the next wider that the CPU has instructions for
  int threads = 1;                       ///< that share one operation; 0: one
  int batch = 1;
  Ranges ranges = {};  ///< of activations, for int8
};

/// Compiles a network for one batch size (and for single images, which share the weights).
/// @throws Error if a parameter is missing or oneDNN fails
CompiledTable compiled_table(const Graph& graph, const Tensors& weights,
                             const CompiledTableOptions& options);

}  // namespace offramp
