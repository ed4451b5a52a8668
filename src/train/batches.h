#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "data/loader.h"

namespace offramp::train {

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

/// Batches that a Loader's thread makes on the CPU.
/// @param dataset  must outlive the result
std::unique_ptr<Batches> make_loader_batches(const Dataset& dataset,
                                             std::vector<std::int64_t> indices,
                                             const LoaderOptions& options, std::int64_t first_step);

/// Batches made on the device itself, which holds all images. The same random numbers and so, but
/// for rounding, the same values as the Loader's; incomplete batches are dropped.
std::unique_ptr<Batches> make_device_batches(const Dataset& dataset,
                                             std::vector<std::int64_t> indices,
                                             const LoaderOptions& options, std::int64_t first_step,
                                             torch::Device device);

}  // namespace offramp::train
