#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "runtime/workspace.h"

namespace offramp {

/// One image on its way through a network, an exit at a time: whoever leads it decides after each
/// whether it goes on. For one thread at a time; after construction nothing here allocates.
class Walk {
 public:
  explicit Walk(std::shared_ptr<const CompiledNetwork> network);

  /// Takes an image; one that was on its way is forgotten.
  /// @param pixels  [C, H, W] f32, normalised; copied
  void begin(std::span<const float> pixels);

  /// Runs on to the next exit.
  /// REQUIRES: begin() was called, and the last exit is not behind it.
  /// @return [classes] of that exit, valid until the next call
  std::span<const float> advance();

  /// The exit reached last, 0-based; -1 before the first.
  int exit_index() const { return exit_index_; }
  /// As graph/cost counts, of what ran for this image.
  std::int64_t macs() const { return macs_; }

  const CompiledNetwork& network() const { return workspace_.network(); }

 private:
  Workspace workspace_;
  std::size_t stage_ = 0;  // that runs next
  int exit_index_ = -1;
  std::int64_t macs_ = 0;
};

}  // namespace offramp
