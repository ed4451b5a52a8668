#include "train/batches.h"

namespace offramp {
namespace {

using torch::Tensor;

// Batches that the loader made, as tensors over its memory.
class LoaderBatches : public Batches {
 public:
  LoaderBatches(const Dataset& dataset, std::vector<std::int64_t> indices,
                const LoaderOptions& options, std::int64_t first_step, torch::Device device)
      : loader_(dataset, std::move(indices), options, first_step),
        height_(dataset.height),
        width_(dataset.width),
        device_(device) {}

  std::int64_t steps_per_epoch() const override { return loader_.steps_per_epoch(); }
  double seconds_waited() const override { return loader_.seconds_waited(); }

  TensorBatch next() override {
    const Batch& batch = loader_.next();
    auto* images = const_cast<float*>(batch.images.data());
    auto* labels = const_cast<std::int64_t*>(batch.labels.data());
    const Tensor rows = torch::from_blob(images, {batch.count, height_, width_, 3}, torch::kFloat);
    return {rows.permute({0, 3, 1, 2}).to(device_),
            torch::from_blob(labels, {batch.count}, torch::kLong).to(device_)};
  }

 private:
  Loader loader_;
  std::int64_t height_, width_;
  torch::Device device_;
};

}  // namespace

std::unique_ptr<Batches> make_batches(const Dataset& dataset, std::vector<std::int64_t> indices,
                                      const LoaderOptions& options, std::int64_t first_step,
                                      torch::Device device) {
  return std::make_unique<LoaderBatches>(dataset, std::move(indices), options, first_step, device);
}

}  // namespace offramp
