#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace offramp::train {

/// What a run must remember besides weights and optimiser state.
struct RunState {
  std::int64_t step = 0;              ///< steps done
  double seconds = 0;                 ///< of training so far
  double best_score = -1;             ///< loss-weighted mean accuracy on tune
  double loss_sum = 0;                ///< of the epoch so far, over steps
  std::int64_t seen = 0;              ///< images of the epoch so far
  std::vector<std::int64_t> correct;  ///< [K] of them
  double epoch_seconds = 0;           ///< of the epoch so far
  double epoch_wait = 0;              ///< seconds of them that were spent waiting for images

  /// The sums of the epoch so far begin again at zero.
  void begin_epoch();

  Tensors save() const;  ///< "run_state"
  /// @throws Error if it is missing or of another number of exits
  void load(const Tensors& saved, std::size_t exits);
};

}  // namespace offramp::train
