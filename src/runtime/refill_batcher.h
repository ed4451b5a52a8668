#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/predictor.h"
#include "runtime/workspace.h"

namespace offramp::runtime {

/// Counts of what one segment has executed.
struct SegmentCounts {
  std::int64_t full_batches = 0;    ///< runs of the largest batch size
  std::int64_t flushed_runs = 0;    ///< runs in a flush
  std::int64_t images = 0;          ///< images in all runs
  std::int64_t flushed_images = 0;  ///< images in the runs in a flush
  std::int64_t macs = 0;            ///< multiply-accumulates of segment and head, for these images
};

/// Runs images through a network in full batches, each image up to the exit where the visitor stops
/// it. Images that do not leave at an exit wait at the next segment until they fill its batch. A
/// segment with a full batch runs before any earlier segment continues, so at most two batches wait
/// at a segment, and no batch before flush() has an empty row. The logits of an image do not depend
/// on the other images of its batch. One thread at a time may use it. After construction it
/// allocates no memory.
class RefillBatcher {
 public:
  explicit RefillBatcher(std::shared_ptr<const CompiledNetwork> network);

  /// Adds an image and runs the batches that it fills.
  /// @param image   a number that is passed on to the visitor
  /// @param pixels  [C, H, W] f32, normalised; copied
  void push(std::int64_t image, std::span<const float> pixels, const core::ExitVisitor& visit);

  /// Runs all waiting images, in batches of the largest compiled sizes that they fill.
  void flush(const core::ExitVisitor& visit);

  /// Drops all waiting images. It must be called after a visitor has thrown.
  void clear();

  /// Whether no image waits.
  bool empty() const;

  const CompiledNetwork& network() const { return workspace_.network(); }
  const std::vector<SegmentCounts>& counts() const { return counts_; }

 private:
  /// The images that wait at a stage, in the order in which they arrived.
  struct WaitingImages {
    int buffer = 0;  ///< the input buffer that is being filled; more images go to the other one
    int rows = 0, rows_of_other = 0;
    std::vector<std::int64_t> images[kInputBuffers];
  };

  void run(std::size_t stage, std::size_t size, int buffer, const core::ExitVisitor& visit);
  void pass_to_next_stage(std::size_t stage, std::size_t size, int buffer, int row,
                          std::int64_t image);
  void run_if_full(std::size_t stage, const core::ExitVisitor& visit);
  void drop_front(std::size_t stage, int rows);
  int largest_batch() const { return network().batches.back(); }

  Workspace workspace_;
  std::vector<WaitingImages> waiting_;  // [stage]
  std::vector<SegmentCounts> counts_;   // [stage]
};

}  // namespace offramp::runtime
