#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "data/loader.h"

namespace offramp {

struct TensorBatch {
  torch::Tensor images;  ///< [N, 3, H, W] f32 normalised, channels last
  torch::Tensor labels;  ///< [N] i64
};

/// Augmented batches as tensors on the training device.
class Batches {
 public:
  virtual ~Batches() = default;
  virtual std::int64_t steps_per_epoch() const = 0;
  /// Valid until the next call.
  virtual TensorBatch next() = 0;
  virtual double seconds_waited() const = 0;
};

/// The CPU augments on a thread of its own; a GPU holds the data and augments there. Both draw the
/// same random numbers for the same (seed, epoch, image).
std::unique_ptr<Batches> make_batches(const Dataset& dataset, std::vector<std::int64_t> indices,
                                      const LoaderOptions& options, std::int64_t first_step,
                                      torch::Device device);

}  // namespace offramp
