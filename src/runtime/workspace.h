#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "runtime/compiled_network.h"
#include "runtime/operation.h"

namespace offramp {

/// Memory to run a network in, and its operations bound to that memory. For one thread at a time;
/// after construction nothing here allocates.
///
/// Every segment has two input buffers of as many rows (images) as the largest batch. A batch is
/// the first rows of one of them. Running a segment overwrites these rows, the arena, and hence the
/// results of every other segment.
class Workspace {
 public:
  explicit Workspace(std::shared_ptr<const CompiledNetwork> network);
  ~Workspace();
  Workspace(Workspace&&) noexcept;
  Workspace& operator=(Workspace&&) noexcept;

  const CompiledNetwork& network() const { return *network_; }

  /// Bytes of one image of an input of a stage.
  std::byte* input_row(std::size_t stage, int buffer, std::size_t input, int row);

  /// Lays an image down as the first stage wants it. @param pixels  [C, H, W] f32, normalised
  void put_image(int buffer, int row, std::span<const float> pixels);

  void run_body(std::size_t stage, std::size_t size, int buffer);
  /// REQUIRES: run_body of the same arguments was the last to run.
  void run_head(std::size_t stage, std::size_t size, int buffer);

  /// The operations of run_body and run_head, as CompiledSegment::body and head, to be run one by
  /// one.
  using Operations = std::span<const std::unique_ptr<BoundOperation>>;
  Operations body(std::size_t stage, std::size_t size, int buffer) const;
  Operations head(std::size_t stage, std::size_t size, int buffer) const;
  /// Where a value of a segment lies, once its operation has run and until another writes there.
  const std::byte* value(std::size_t stage, std::size_t size, int buffer, int value) const;

  /// Logits of a row after run_head of the same stage, size and buffer.
  std::span<const float> logits(std::size_t stage, std::size_t size, int buffer, int row) const;
  /// One image of what a stage hands on, until another runs.
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

}  // namespace offramp
