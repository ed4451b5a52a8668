#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/predictor.h"
#include "runtime/workspace.h"

namespace offramp {

/// What one segment did.
struct SegmentCounts {
  std::int64_t full_batches = 0;    ///< runs of the largest batch size
  std::int64_t flushed_runs = 0;    ///< runs of what was left at the end
  std::int64_t images = 0;          ///< images that went through
  std::int64_t flushed_images = 0;  ///< of these, at the end
  std::int64_t macs = 0;            ///< of segment and head, for these images
};

/// Runs images through a network, each as far as the visitor says. Survivors of an exit wait at the
/// next segment until they fill its batch; a segment with a full batch runs before anything earlier
/// goes on, so at most two batches wait anywhere, and no run before the flush has an empty row.
/// An image's answers do not depend on who its neighbours are. For one thread at a time; after
/// construction nothing here allocates.
class Stream {
 public:
  explicit Stream(std::shared_ptr<const CompiledNetwork> network);

  /// Takes one image; runs whatever batches that fills.
  /// @param image   a number that the visitor is given back
  /// @param pixels  [C, H, W] f32, normalised; copied
  void push(std::int64_t image, std::span<const float> pixels, const ExitVisitor& visit);

  /// Runs everything that waits, in the largest sizes compiled that it fills.
  void flush(const ExitVisitor& visit);

  /// Forgets the images that wait: after a visitor has thrown.
  void clear();

  /// Whether no image waits.
  bool empty() const;

  const CompiledNetwork& network() const { return workspace_.network(); }
  const std::vector<SegmentCounts>& counts() const { return counts_; }

 private:
  /// Images at the door of a stage, in the order they came.
  struct Waiting {
    int buffer = 0;  ///< where they lie; the rest, when there are more, in the other
    int rows = 0, rows_of_other = 0;
    std::vector<std::int64_t> images[kInputBuffers];
  };

  void run(std::size_t stage, std::size_t size, int buffer, const ExitVisitor& visit);
  void hand_on(std::size_t stage, std::size_t size, int buffer, int row, std::int64_t image);
  void run_if_full(std::size_t stage, const ExitVisitor& visit);
  void drop_front(std::size_t stage, int rows);
  int largest_batch() const { return network().batches.back(); }

  Workspace workspace_;
  std::vector<Waiting> waiting_;       // [stage]
  std::vector<SegmentCounts> counts_;  // [stage]
};

}  // namespace offramp
