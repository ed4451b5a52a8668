#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "runtime/workspace.h"

namespace offramp::runtime {

/// Runs one image through a network, one exit at a time; the caller decides after each exit whether
/// to continue. One thread at a time may use it. After construction it allocates no memory.
class SingleImageRun {
 public:
  explicit SingleImageRun(std::shared_ptr<const CompiledNetwork> network);

  /// Starts with a new image and drops the one before it.
  /// @param pixels  [C, H, W] f32, normalised; copied
  void begin(std::span<const float> pixels);

  /// Runs the image up to the next exit.
  /// REQUIRES: begin() was called, and the image has not reached the last exit yet.
  /// @return [classes] of that exit, valid until the next call
  std::span<const float> advance();

  /// The last exit that the image has reached, 0-based; -1 before the first.
  int exit_index() const { return exit_index_; }
  /// Multiply-accumulates spent on the image so far, as graph/cost counts them.
  std::int64_t macs() const { return macs_; }

  const CompiledNetwork& network() const { return workspace_.network(); }

 private:
  Workspace workspace_;
  std::size_t stage_ = 0;  // the stage that runs next
  int exit_index_ = -1;
  std::int64_t macs_ = 0;
};

}  // namespace offramp::runtime
