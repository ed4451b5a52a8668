#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "runtime/compiled_network.h"
#include "runtime/operation.h"

namespace offramp::runtime {

/// The memory in which a network runs, and the network's operations bound to that memory. One
/// thread at a time may use it. After construction it allocates no memory.
///
/// Every segment has two input buffers with as many rows (images) as the largest batch. A batch
/// consists of the first rows of one of them. Running a segment overwrites these rows and the
/// arena, and therefore the results of all other segments.
class Workspace {
 public:
  explicit Workspace(std::shared_ptr<const CompiledNetwork> network);
  ~Workspace();
  Workspace(Workspace&&) noexcept;
  Workspace& operator=(Workspace&&) noexcept;

  const CompiledNetwork& network() const { return *network_; }

  /// The memory of one image in an input buffer of a stage.
  std::byte* input_row(std::size_t stage, int buffer, std::size_t input, int row);

  /// Converts an image to the input layout of the first stage and writes it to a row.
  /// @param pixels  [C, H, W] f32, normalised
  void put_image(int buffer, int row, std::span<const float> pixels);

  void run_body(std::size_t stage, std::size_t size, int buffer);
  /// REQUIRES: the last call was run_body with the same arguments.
  void run_head(std::size_t stage, std::size_t size, int buffer);

  /// The operations of run_body and run_head, in the order of CompiledSegment::body and head, for
  /// callers that run them one by one.
  using Operations = std::span<const std::unique_ptr<BoundOperation>>;
  Operations body(std::size_t stage, std::size_t size, int buffer) const;
  Operations head(std::size_t stage, std::size_t size, int buffer) const;
  /// The memory of a value of a segment. It holds the value from the run of its operation until
  /// another operation overwrites it.
  const std::byte* value(std::size_t stage, std::size_t size, int buffer, int value) const;

  /// The logits [classes] of a row, after run_head with the same stage, size and buffer.
  std::span<const float> logits(std::size_t stage, std::size_t size, int buffer, int row) const;
  /// One image of an output of a stage, valid until another stage runs.
  const std::byte* output_row(std::size_t stage, std::size_t size, int buffer, std::size_t output,
                              int row) const;

  std::size_t bytes() const { return bytes_; }

 private:
  using BoundSteps = std::vector<std::unique_ptr<BoundOperation>>;
  struct Bound {
    BoundSteps body, head;
  };

  void plan_inputs();
  BoundSteps bind(const CompiledSegment& segment, const std::vector<Step>& steps, std::size_t stage,
                  int buffer);
  std::byte* place_of(const CompiledSegment& segment, int value, std::size_t stage,
                      int buffer) const;
  const Bound& bound(std::size_t stage, std::size_t size, int buffer) const;

  std::shared_ptr<const CompiledNetwork> network_;
  std::unique_ptr<dnnl::stream> stream_;
  std::size_t bytes_ = 0;
  std::shared_ptr<std::byte> memory_;
  std::byte* arena_ = nullptr;
  std::vector<std::vector<std::size_t>> input_offsets_;  // [stage][buffer * inputs + input]
  std::vector<std::vector<Bound>> bound_;                // [stage][size * kInputBuffers + buffer]
};

}  // namespace offramp::runtime
