#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"

namespace offramp::data {

struct Batch {
  std::int64_t count = 0;            ///< images of this rank
  std::int64_t total = 0;            ///< images of the batch over all ranks
  std::vector<float> images;         ///< [count, H, W, 3] f32 normalised, channels last
  std::vector<std::int64_t> labels;  ///< [count]
};

struct BatchLoaderOptions {
  int batch = 128;  ///< images per training step, summed over all ranks
  std::uint64_t seed = 1;
  Augmentation augmentation;
  core::Preprocessing preprocessing;
  bool drop_last = true;  ///< leave out the last batch of an epoch if it is smaller than `batch`
  int prefetch = 3;       ///< number of batches made ahead of their use
  /// `world` processes (ranks) train one network together; this is process `rank`, counted from 0.
  /// Each takes its rows of every batch. The sequence of batches does not depend on `world`.
  int rank = 0, world = 1;
};

/// A range of images within a batch: begin … end - 1.
struct BatchRows {
  std::int64_t begin = 0, end = 0;
};

/// Returns the rows of a batch of `count` images that a rank takes. The batch is divided as evenly
/// as possible, in the order of the ranks.
BatchRows rows_of_rank(std::int64_t count, const BatchLoaderOptions& options);

/// @throws UsageError if `rank` is not below `world`, or `batch` has fewer images than there are
/// ranks
void check_ranks(const BatchLoaderOptions& options);

/// Makes augmented batches for an unlimited sequence of epochs on a background thread. Batch b of
/// epoch e is a function of (seed, e, b) alone, so a run can start anywhere in the sequence. With
/// several ranks each makes only its rows, and together they process every image once per epoch.
/// The order of an epoch is the EpochOrder of the indices.
class BatchLoader {
 public:
  /// `dataset` must outlive the loader.
  BatchLoader(const Dataset& dataset, std::vector<std::int64_t> indices,
              const BatchLoaderOptions& options, std::int64_t first_step = 0);
  ~BatchLoader();

  std::int64_t steps_per_epoch() const;
  /// Returns this rank's rows of the next batch; they stay valid until the next call. A short last
  /// batch may have no row for this rank.
  const Batch& next();
  /// Total seconds that next() has waited because no batch was ready.
  double seconds_waited() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace offramp::data
