#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "runtime/layout.h"
#include "runtime/precision.h"

namespace offramp {

class Operation;

/// One operation of a compiled segment and where its tensors are, as indices into `values`.
struct Step {
  std::string output;
  std::string kind;  ///< "conv 3x3, stride 2 + residual + relu", for people
  std::shared_ptr<const Operation> operation;
  std::vector<int> srcs;
  int dst = 0;
  std::size_t scratch_offset = 0;  ///< in the arena
};

/// A tensor of a compiled segment. Its memory may be another's that is dead by then.
struct Value {
  std::string name;
  Layout layout;
  int input = -1;          ///< lies in this input of the segment; -1: in the arena
  std::size_t offset = 0;  ///< in the arena
};

/// One segment for one batch size.
struct CompiledSegment {
  int batch = 1;
  std::vector<Value> values;     ///< the first ones are the inputs, in their order
  std::vector<int> outputs;      ///< values handed on, in the layouts of the next one's inputs
  std::vector<Step> body, head;  ///< no head: no exit here
  int logits = -1;               ///< [batch, classes] f32
  std::size_t arena_bytes = 0;
};

/// A segment in all its batch sizes.
struct CompiledStage {
  std::vector<Layout> inputs;                 ///< of one image, the same for every batch size
  int exit_index = -1;                        ///< -1: no exit here
  std::int64_t body_macs = 0, head_macs = 0;  ///< per image, as graph/cost counts
  std::vector<CompiledSegment> sizes;         ///< as `CompiledNetwork::batches`
};

/// A network ready to run: primitives, weights in their layouts, a memory plan. Immutable; any
/// number of threads may run it, each with a Workspace of its own.
struct CompiledNetwork {
  Precision precision = Precision::f32;
  int threads = 1;
  Shape input;
  std::int64_t classes = 0;
  int num_exits = 0;
  std::vector<int> batches;  ///< increasing, the first is 1
  std::vector<CompiledStage> stages;
};

/// Buffers of each input of a stage in a workspace, of as many images as the largest batch.
inline constexpr int kInputBuffers = 2;

/// Bytes of the arena that every segment of a network runs in, one after the other.
std::size_t arena_bytes(const CompiledNetwork& network);
/// Bytes of one buffer of an input of a stage.
std::size_t input_bytes(const CompiledNetwork& network, const Layout& input);
/// Bytes of a workspace: the arena and the buffers of all inputs.
std::size_t workspace_bytes(const CompiledNetwork& network);

/// One line of `offramp info --compiled`.
struct CompiledRow {
  std::string segment;  ///< "1", "1 head"
  std::string output, kind, implementation;
  std::vector<Layout> srcs;
  Layout dst;
};

/// The layouts of some values of a segment.
std::vector<Layout> layouts_of(const CompiledSegment& segment, const std::vector<int>& values);

/// Every operation for the largest batch size, in execution order.
std::vector<CompiledRow> compiled_rows(const CompiledNetwork& network);

}  // namespace offramp
