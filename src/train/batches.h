#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "data/batch_loader.h"

namespace offramp::train {

/// The N images of a training step that this process takes.
struct TensorBatch {
  torch::Tensor images;    ///< [N, 3, H, W] f32 normalised, channels last
  torch::Tensor labels;    ///< [N] i64
  std::int64_t total = 0;  ///< images of the step over all processes
};

/// An endless sequence of augmented batches as tensors.
class Batches {
 public:
  virtual ~Batches() = default;
  virtual std::int64_t steps_per_epoch() const = 0;
  /// Returns the next batch; its tensors are valid until the next call.
  virtual TensorBatch next() = 0;
  /// Total time in seconds that next() has waited for images.
  virtual double seconds_waited() const = 0;
};

/// Makes batches on the CPU with a BatchLoader, which works in its own thread.
/// @param dataset     must outlive the result
/// @param indices     images of the data set to train on
/// @param first_step  step to begin at, 0-based
std::unique_ptr<Batches> make_loader_batches(const data::Dataset& dataset,
                                             std::vector<std::int64_t> indices,
                                             const data::BatchLoaderOptions& options,
                                             std::int64_t first_step);

/// Makes batches on `device`, to which all images are copied first. The random numbers are those of
/// the BatchLoader, so its batches differ by rounding only. An incomplete last batch is dropped.
/// @param indices     images of the data set to train on
/// @param first_step  step to begin at, 0-based
std::unique_ptr<Batches> make_device_batches(const data::Dataset& dataset,
                                             std::vector<std::int64_t> indices,
                                             const data::BatchLoaderOptions& options,
                                             std::int64_t first_step, torch::Device device);

}  // namespace offramp::train
