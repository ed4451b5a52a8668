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
  int batch = 128;  ///< images of a step, over all ranks
  std::uint64_t seed = 1;
  Augmentation augmentation;
  Preprocessing preprocessing;
  bool drop_last = true;
  int prefetch = 3;  ///< batches kept ready
  /// Processes that train one network together, and which of them this is. Each takes its rows of
  /// every batch; the sequence of batches does not depend on how many there are.
  int rank = 0, world = 1;
};

/// Places of a batch, in its order.
struct BatchRows {
  std::int64_t begin = 0, end = 0;
};

/// The rows of a batch of `count` images that a rank takes: as many for each as can be, in the
/// order of the ranks.
BatchRows rows_of_rank(std::int64_t count, const LoaderOptions& options);

/// @throws UsageError if batch, rank and world do not fit together
void check_ranks(const LoaderOptions& options);

/// The order of images in an epoch: a permutation of `indices` that depends on (seed, epoch) alone.
std::vector<std::int64_t> epoch_order(const std::vector<std::int64_t>& indices, std::uint64_t seed,
                                      std::uint64_t epoch);

/// Makes augmented batches of an endless sequence of epochs on a thread of its own. Batch b of
/// epoch e is a function of (seed, e, b) alone, so a run can start anywhere in the sequence, and
/// each rank of several makes its rows of it: together an epoch has every image once.
class Loader {
 public:
  /// `dataset` must outlive the loader.
  Loader(const Dataset& dataset, std::vector<std::int64_t> indices, const LoaderOptions& options,
         std::int64_t first_step = 0);
  ~Loader();

  std::int64_t steps_per_epoch() const;
  /// This rank's rows of the next batch; valid until the next call. A short last batch may have
  /// none for it.
  const Batch& next();
  /// Seconds that next() has waited because no batch was ready.
  double seconds_waited() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace offramp
