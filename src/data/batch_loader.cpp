#include "data/batch_loader.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/parallel.h"
#include "data/epoch_order.h"
#include "data/prefetch.h"

namespace offramp::data {
BatchRows rows_of_rank(std::int64_t count, const BatchLoaderOptions& options) {
  return {count * options.rank / options.world, count * (options.rank + 1) / options.world};
}

void check_ranks(const BatchLoaderOptions& options) {
  if (options.world < 1)
    throw UsageError(fmt::format("there must be 1 rank or more: got {}", options.world));
  if (options.rank < 0 || options.rank >= options.world)
    throw UsageError(
        fmt::format("rank must be from 0 to {}: got {}", options.world - 1, options.rank));
  if (options.batch < options.world)
    throw UsageError(
        fmt::format("batch must have an image for each rank: got {} images and {} ranks",
                    options.batch, options.world));
}

struct BatchLoader::Impl {
  Impl(const Dataset& from, std::vector<std::int64_t> of, const BatchLoaderOptions& with,
       std::int64_t first_step)
      : dataset(from),
        indices(std::move(of)),
        options(with),
        augmenter(options.preprocessing, options.augmentation, options.seed) {
    check(first_step);
    const auto count = static_cast<std::int64_t>(indices.size());
    steps_per_epoch =
        options.drop_last ? count / options.batch : (count + options.batch - 1) / options.batch;
    prefetch.emplace([this](std::int64_t step, Batch& batch) { make_batch(step, batch); },
                     static_cast<std::size_t>(options.prefetch), first_step);
  }

  void check(std::int64_t first_step) const {
    if (options.batch < 1)
      throw UsageError(fmt::format("batch must be 1 or more: got {}", options.batch));
    check_ranks(options);
    if (options.prefetch < 1) {
      throw UsageError(fmt::format("prefetch must be 1 or more: got {}", options.prefetch));
    }
    if (first_step < 0)
      throw Error(fmt::format("loader: first step must be 0 or more: got {}", first_step));
    if (indices.empty()) throw Error("loader: there are no images to load");
    if (options.drop_last && std::ssize(indices) < options.batch) {
      throw UsageError(
          fmt::format("batch must not be larger than the number of images: got {} and {}",
                      options.batch, indices.size()));
    }
    if (options.preprocessing.height != dataset.height ||
        options.preprocessing.width != dataset.width) {
      throw Error(fmt::format(
          "loader: image size differs from the preprocessing's: got {}x{}, expected {}x{}",
          dataset.height, dataset.width, options.preprocessing.height,
          options.preprocessing.width));
    }
    const auto [low, high] = std::minmax_element(indices.begin(), indices.end());
    if (*low < 0 || *high >= dataset.size()) {
      throw Error(fmt::format("loader: index of an image is out of range: got {} of {} images",
                              *low < 0 ? *low : *high, dataset.size()));
    }
  }

  // This function runs on the thread of `prefetch`.
  void make_batch(std::int64_t step, Batch& batch) {
    const std::int64_t epoch = step / steps_per_epoch;
    const auto count = std::ssize(indices);
    const EpochOrder order(count, options.seed, static_cast<std::uint64_t>(epoch));
    const std::int64_t start = step % steps_per_epoch * options.batch;
    batch.total = std::min<std::int64_t>(options.batch, count - start);
    const BatchRows rows = rows_of_rank(batch.total, options);
    batch.count = rows.end - rows.begin;
    chosen.clear();
    for (std::int64_t place = start + rows.begin; place < start + rows.end; ++place)
      chosen.push_back(indices[static_cast<std::size_t>(order[place])]);
    dataset.will_need(chosen);
    const std::size_t values = static_cast<std::size_t>(dataset.height) * dataset.width * 3;
    batch.images.resize(static_cast<std::size_t>(batch.count) * values);
    batch.labels.resize(static_cast<std::size_t>(batch.count));
    decode_chosen();
    for (std::size_t i = 0; i < batch.labels.size(); ++i) {
      const std::int64_t image = chosen[i];
      const auto dst = std::span(batch.images).subspan(i * values, values);
      const auto key = static_cast<std::uint64_t>(image);
      if (decoded.empty())
        augmenter(dataset.image(image), static_cast<std::uint64_t>(epoch), key, dst);
      else
        augmenter(decoded[i], static_cast<std::uint64_t>(epoch), key, dst);
      batch.labels[i] = dataset.labels[static_cast<std::size_t>(image)];
    }
  }

  /// Decodes the images of a batch on all cores, if that is needed to read them.
  void decode_chosen() {
    decoded.clear();
    if (!dataset.stored || !dataset.stored->decodes()) return;
    for (std::size_t i = 0; i < chosen.size(); ++i)
      decoded.emplace_back(std::vector<std::uint8_t>());
    core::parallel_for(chosen.size(),
                       [&](std::size_t i) { decoded[i] = dataset.image(chosen[i]); });
  }

  const Dataset& dataset;
  const std::vector<std::int64_t> indices;
  const BatchLoaderOptions options;
  Augmenter augmenter;
  std::int64_t steps_per_epoch = 0;
  std::vector<std::int64_t> chosen;  // the images of the batch that is being made
  std::vector<ImagePixels> decoded;  // their pixels if they must be decoded, else empty
  // This must be the last member, because its thread uses all the others.
  std::optional<Prefetch<Batch>> prefetch;
};

BatchLoader::BatchLoader(const Dataset& dataset, std::vector<std::int64_t> indices,
                         const BatchLoaderOptions& options, std::int64_t first_step)
    : impl_(std::make_unique<Impl>(dataset, std::move(indices), options, first_step)) {}

BatchLoader::~BatchLoader() = default;

std::int64_t BatchLoader::steps_per_epoch() const { return impl_->steps_per_epoch; }
const Batch& BatchLoader::next() { return impl_->prefetch->next(); }
double BatchLoader::seconds_waited() const { return impl_->prefetch->seconds_waited(); }

}  // namespace offramp::data
