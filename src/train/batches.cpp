#include "train/batches.h"

#include <algorithm>

#include "core/error.h"
#include "data/epoch_order.h"

namespace offramp::train {
namespace {

using torch::Tensor;
using torch::indexing::Slice;

// Returns the batches of a BatchLoader as tensors that share its memory.
class LoaderBatches : public Batches {
 public:
  LoaderBatches(const data::Dataset& dataset, std::vector<std::int64_t> indices,
                const data::BatchLoaderOptions& options, std::int64_t first_step)
      : loader_(dataset, std::move(indices), options, first_step),
        height_(dataset.height),
        width_(dataset.width) {}

  std::int64_t steps_per_epoch() const override { return loader_.steps_per_epoch(); }
  double seconds_waited() const override { return loader_.seconds_waited(); }

  TensorBatch next() override {
    const data::Batch& batch = loader_.next();
    auto* images = const_cast<float*>(batch.images.data());
    auto* labels = const_cast<std::int64_t*>(batch.labels.data());
    const Tensor rows = torch::from_blob(images, {batch.count, height_, width_, 3}, torch::kFloat);
    return {rows.permute({0, 3, 1, 2}), torch::from_blob(labels, {batch.count}, torch::kLong),
            batch.total};
  }

 private:
  data::BatchLoader loader_;
  std::int64_t height_, width_;
};

// Holds all images on the device and gathers, crops, mirrors and normalises each batch there, with
// the random numbers of Augmenter.
class DeviceBatches : public Batches {
 public:
  DeviceBatches(const data::Dataset& dataset, std::vector<std::int64_t> indices,
                const data::BatchLoaderOptions& options, std::int64_t first_step,
                torch::Device device)
      : indices_(std::move(indices)),
        options_(options),
        augmenter_(options.preprocessing, options.augmentation, options.seed),
        height_(dataset.height),
        width_(dataset.width),
        step_(first_step),
        device_(device) {
    data::check_ranks(options_);
    if (std::ssize(indices_) < options_.batch)
      throw UsageError(
          fmt::format("batch must not be larger than the number of images: got {} and {}",
                      options_.batch, indices_.size()));
    std::vector<std::uint8_t> copied;  // if the pixels are not in memory
    if (dataset.stored) copied = data::copy_pixels(dataset);
    auto* bytes = const_cast<std::uint8_t*>(dataset.stored ? copied.data() : dataset.pixels.data());
    auto* labels = const_cast<std::int64_t*>(dataset.labels.data());
    pixels_ = torch::from_blob(bytes, {dataset.size(), height_, width_, 3}, torch::kUInt8)
                  .to(device_, false, true);
    labels_ = torch::from_blob(labels, {dataset.size()}, torch::kLong).to(device_, false, true);
    const auto& p = options_.preprocessing;
    mean_ = torch::tensor({p.mean[0], p.mean[1], p.mean[2]}).to(device_);
    std_ = torch::tensor({p.std[0], p.std[1], p.std[2]}).to(device_);
  }

  std::int64_t steps_per_epoch() const override { return std::ssize(indices_) / options_.batch; }
  double seconds_waited() const override { return 0; }

  TensorBatch next() override {
    const std::int64_t epoch = step_ / steps_per_epoch();
    const std::int64_t start = step_ % steps_per_epoch() * options_.batch;
    const data::BatchRows rows = data::rows_of_rank(options_.batch, options_);
    const data::EpochOrder order(std::ssize(indices_), options_.seed,
                                 static_cast<std::uint64_t>(epoch));
    ++step_;
    std::vector<std::int64_t> images;
    for (std::int64_t place = start + rows.begin; place < start + rows.end; ++place)
      images.push_back(indices_[static_cast<std::size_t>(order[place])]);
    std::vector<std::int64_t> draws;  // [N, 7] random numbers of each image
    for (const std::int64_t image : images) {
      const auto d =
          augmenter_.draw(static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(image));
      draws.insert(draws.end(),
                   {d.top, d.left, d.height, d.width, d.flip ? 1 : 0, d.cutout_top, d.cutout_left});
    }
    const Tensor index = torch::tensor(images, torch::kLong).to(device_);
    const Tensor draw = torch::tensor(draws, torch::kLong).view({-1, 7}).to(device_);
    const Tensor augmented = augment(index, draw);
    return {augmented.permute({0, 3, 1, 2}), labels_.index_select(0, index), options_.batch};
  }

 private:
  // Linear interpolation along one axis: for each pixel of the result, the two neighbouring pixels
  // of the image and the weight of the second. Each tensor is [N, size].
  struct Neighbours {
    Tensor first, second, share;
    Tensor inside;  // false for pixels in the padding outside the image
  };

  Neighbours neighbours(const Tensor& begin, const Tensor& extent, std::int64_t size,
                        const Tensor& mirrored) const {
    Tensor place =
        torch::arange(size, torch::TensorOptions(device_).dtype(torch::kLong)).unsqueeze(0);
    place = torch::where(mirrored.unsqueeze(1), size - 1 - place, place);
    const Tensor box = extent.unsqueeze(1);
    const Tensor centre =
        ((place.to(torch::kFloat) + 0.5f) * box.to(torch::kFloat) / static_cast<float>(size) - 0.5f)
            .clamp_min(0);
    const Tensor position = torch::minimum(centre, (box - 1).to(torch::kFloat));
    const Tensor first = position.to(torch::kLong);
    const Tensor second = torch::minimum(first + 1, box - 1);
    const Tensor share = position - first.to(torch::kFloat);
    const Tensor from = first + begin.unsqueeze(1);
    return {from.clamp(0, size - 1), (second + begin.unsqueeze(1)).clamp(0, size - 1), share,
            from.ge(0).logical_and(from.lt(size))};
  }

  Tensor gather(const Tensor& index, const Tensor& rows, const Tensor& columns) const {
    return pixels_.index({index.view({-1, 1, 1}), rows.unsqueeze(2), columns.unsqueeze(1)})
        .to(torch::kFloat);
  }

  Tensor augment(const Tensor& index, const Tensor& draw) const {
    const auto column = [&](int c) { return draw.index({Slice(), c}); };
    const Tensor mirrored = column(4).ne(0);
    const Neighbours y = neighbours(column(0), column(2), height_, torch::zeros_like(mirrored));
    const Neighbours x = neighbours(column(1), column(3), width_, mirrored);
    Tensor pixels = gather(index, y.first, x.first);
    if (options_.augmentation.resized_crop > 0) {
      const Tensor down = y.share.unsqueeze(2).unsqueeze(3),
                   right = x.share.unsqueeze(1).unsqueeze(3);
      const Tensor left_side = pixels + down * (gather(index, y.second, x.first) - pixels);
      const Tensor upper_right = gather(index, y.first, x.second);
      const Tensor right_side =
          upper_right + down * (gather(index, y.second, x.second) - upper_right);
      pixels = left_side + right * (right_side - left_side);
    }
    const Tensor inside = y.inside.unsqueeze(2).logical_and(x.inside.unsqueeze(1)).unsqueeze(3);
    Tensor result =
        (torch::where(inside, pixels / 255.0f, torch::zeros_like(pixels)) - mean_) / std_;
    if (options_.augmentation.cutout > 0) {
      const auto covered = [&](const Tensor& begin, std::int64_t size) {
        const Tensor place =
            torch::arange(size, torch::TensorOptions(device_).dtype(torch::kLong)).unsqueeze(0);
        const Tensor start = begin.unsqueeze(1);
        return place.ge(start).logical_and(place.lt(start + options_.augmentation.cutout));
      };
      const Tensor hole = covered(column(5), height_)
                              .unsqueeze(2)
                              .logical_and(covered(column(6), width_).unsqueeze(1));
      result = result.masked_fill(hole.unsqueeze(3), 0);
    }
    return result;
  }

  std::vector<std::int64_t> indices_;
  data::BatchLoaderOptions options_;
  data::Augmenter augmenter_;
  std::int64_t height_, width_, step_;
  torch::Device device_;
  Tensor pixels_, labels_, mean_, std_;
};

}  // namespace

std::unique_ptr<Batches> make_loader_batches(const data::Dataset& dataset,
                                             std::vector<std::int64_t> indices,
                                             const data::BatchLoaderOptions& options,
                                             std::int64_t first_step) {
  return std::make_unique<LoaderBatches>(dataset, std::move(indices), options, first_step);
}

std::unique_ptr<Batches> make_device_batches(const data::Dataset& dataset,
                                             std::vector<std::int64_t> indices,
                                             const data::BatchLoaderOptions& options,
                                             std::int64_t first_step, torch::Device device) {
  return std::make_unique<DeviceBatches>(dataset, std::move(indices), options, first_step, device);
}

}  // namespace offramp::train
