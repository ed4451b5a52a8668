#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace offramp::train {

/// The counters and sums that a checkpoint stores beside weights and optimiser state.
struct RunState {
  std::int64_t step = 0;              ///< steps done in the run
  double seconds = 0;                 ///< time spent on all steps of the run
  double best_score = -1;             ///< best loss-weighted mean accuracy on tune; -1: none yet
  double loss_sum = 0;                ///< sum of the losses of this epoch's steps
  std::int64_t seen = 0;              ///< images used in this epoch
  std::vector<std::int64_t> correct;  ///< [K] images of this epoch classified correctly
  double epoch_seconds = 0;           ///< time spent on the steps of this epoch
  double epoch_wait = 0;              ///< seconds of epoch_seconds spent waiting for images

  /// Sets the sums of the epoch to zero.
  void begin_epoch();

  /// Returns the state for a checkpoint, as one tensor "run_state".
  core::Tensors save() const;
  /// Restores the state that save() returned.
  /// @throws Error if the tensor is missing or belongs to another number of exits
  void load(const core::Tensors& saved, std::size_t exits);
};

}  // namespace offramp::train
