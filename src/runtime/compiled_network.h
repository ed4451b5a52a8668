#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "runtime/layout.h"
#include "runtime/precision.h"

namespace offramp::runtime {

class Operation;

/// One operation of a compiled segment. Its tensors are indices into CompiledSegment::values.
struct Step {
  std::string output;
  std::string kind;  ///< description for the user: "conv 3x3, stride 2 + residual + relu"
  std::shared_ptr<const Operation> operation;
  std::vector<int> srcs;
  int dst = 0;
  std::size_t scratch_offset = 0;  ///< offset in the arena, in bytes
};

/// A tensor of a compiled segment. It may share memory with a tensor that is no longer needed.
struct Value {
  std::string name;
  Layout layout;
  int input = -1;          ///< index of the segment's input that holds it; -1: it is in the arena
  std::size_t offset = 0;  ///< offset in the arena, in bytes
};

/// A segment compiled for one batch size.
struct CompiledSegment {
  int batch = 1;
  std::vector<Value> values;     ///< all tensors; the inputs come first, in their order
  std::vector<int> outputs;      ///< values for the next segment, in the layouts of its inputs
  std::vector<Step> body, head;  ///< head is empty if the segment has no exit
  int logits = -1;  ///< the value that holds the logits, [batch, classes] f32; -1: none
  std::size_t arena_bytes = 0;
};

/// A segment compiled for all batch sizes.
struct CompiledStage {
  std::vector<Layout> inputs;  ///< layouts of the inputs for one image, equal for all batch sizes
  int exit_index = -1;         ///< 0-based; -1: the segment has no exit
  std::int64_t body_macs = 0, head_macs = 0;  ///< MACs per image, as graph/cost counts them
  std::vector<CompiledSegment> sizes;         ///< in the order of CompiledNetwork::batches
};

/// A network that is ready to run: its primitives, its reordered weights and its memory plan. It is
/// immutable; any number of threads may run it, each with a Workspace of its own.
struct CompiledNetwork {
  Precision precision = Precision::f32;
  int threads = 1;
  graph::Shape input;
  std::int64_t classes = 0;
  int num_exits = 0;
  std::vector<int> batches;  ///< batch sizes in increasing order; the first is 1
  std::vector<CompiledStage> stages;
};

/// The number of buffers that a workspace has for each input of a stage. Each holds as many images
/// as the largest batch.
inline constexpr int kInputBuffers = 2;

/// The size in bytes of the arena, which the segments of a network use one after the other.
std::size_t arena_bytes(const CompiledNetwork& network);
/// The size in bytes of one buffer of an input of a stage.
std::size_t input_bytes(const CompiledNetwork& network, const Layout& input);
/// The size in bytes of a workspace: the arena and the buffers of all inputs.
std::size_t workspace_bytes(const CompiledNetwork& network);

/// One row of the table that `offramp info --compiled` prints.
struct CompiledRow {
  std::string segment;  ///< number from 1, with " head" for a head: "1", "1 head"
  std::string output, kind, implementation;
  std::vector<Layout> srcs;
  Layout dst;
};

/// Returns the layouts of the given values of a segment.
std::vector<Layout> layouts_of(const CompiledSegment& segment, const std::vector<int>& values);

/// Returns one row for every operation of the largest batch size, in execution order.
std::vector<CompiledRow> compiled_rows(const CompiledNetwork& network);

}  // namespace offramp::runtime
