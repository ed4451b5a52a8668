#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"

namespace offramp {

struct Batch {
  std::int64_t count = 0;
  std::vector<float> images;         ///< [count, H, W, 3] f32 normalised, channels last
  std::vector<std::int64_t> labels;  ///< [count]
};

struct LoaderOptions {
  int batch = 128;
  std::uint64_t seed = 1;
  Augmentation augmentation;
  Preprocessing preprocessing;
  bool drop_last = true;
  int prefetch = 3;  ///< batches kept ready
};

/// The order of images in an epoch: a permutation of `indices` that depends on (seed, epoch) alone.
std::vector<std::int64_t> epoch_order(const std::vector<std::int64_t>& indices, std::uint64_t seed,
                                      std::uint64_t epoch);

/// Makes augmented batches of an endless sequence of epochs on a thread of its own. Batch b of
/// epoch e is a function of (seed, e, b) alone, so a run can start anywhere in the sequence.
class Loader {
 public:
  /// `dataset` must outlive the loader.
  Loader(const Dataset& dataset, std::vector<std::int64_t> indices, const LoaderOptions& options,
         std::int64_t first_step = 0);
  ~Loader();

  std::int64_t steps_per_epoch() const;
  /// The next batch of the sequence; valid until the next call.
  const Batch& next();
  /// Seconds that next() has waited because no batch was ready.
  double seconds_waited() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace offramp
