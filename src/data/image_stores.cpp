#include "data/image_stores.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace offramp::data::detail {
namespace {

/// Tells the system how a part of a mapped file is accessed. Errors are ignored: this only saves
/// time.
void advise(std::span<const std::byte> part, int advice) {
  if (part.empty()) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(part.data());
  const std::size_t before = begin % page;
  ::madvise(const_cast<std::byte*>(part.data()) - before, before + part.size(), advice);
}

class ResizedStore : public ImageStore {
 public:
  ResizedStore(std::shared_ptr<const ImageStore> images, int from_width, int from_height, int width,
               int height, core::Fit fit)
      : images_(std::move(images)),
        from_width_(from_width),
        from_height_(from_height),
        width_(width),
        height_(height),
        fit_(fit) {}

  ImagePixels image(std::int64_t index) const override {
    const ImagePixels pixels = images_->image(index);
    const image::Image image{from_width_, from_height_, {pixels.begin(), pixels.end()}};
    return ImagePixels(image::resize(image, width_, height_, fit_).rgb);
  }
  void will_need(std::span<const std::int64_t> indices) const override {
    images_->will_need(indices);
  }
  bool decodes() const override { return true; }

 private:
  std::shared_ptr<const ImageStore> images_;
  int from_width_, from_height_, width_, height_;
  core::Fit fit_;
};

}  // namespace

image::Image decode_in_turn(std::span<const std::byte> bytes, std::unique_lock<std::mutex>& large) {
  image::DecodeLimits limits;
  limits.max_pixels = std::int64_t{1} << 24;
  try {
    return image::decode_image(bytes, limits);
  } catch (const image::TooLarge&) {
    // It comes from the header, before pixels are allocated, so decoding can be repeated.
  }
  large.lock();
  return image::decode_image(bytes);
}

void MappedImages::add_images(const core::Safetensors& file, std::span<const std::byte> bytes,
                              std::int64_t count) {
  advise(bytes, MADV_RANDOM);
  files_.push_back({file, bytes});
  ends_.push_back((ends_.empty() ? 0 : ends_.back()) + count);
}

MappedImages::Location MappedImages::location_of(std::int64_t index) const {
  const auto file =
      static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), index) - ends_.begin());
  return {file, index - (file == 0 ? 0 : ends_[file - 1])};
}

void MappedImages::will_need(std::span<const std::int64_t> indices) const {
  for (const std::int64_t index : indices) advise(stored_bytes(index), MADV_WILLNEED);
}

void MappedPixels::add(const core::Safetensors& file, const core::TensorView& pixels) {
  image_bytes_ = static_cast<std::size_t>(pixels.shape[1] * pixels.shape[2] * 3);
  add_images(file, pixels.bytes, pixels.shape[0]);
}

ImagePixels MappedPixels::image(std::int64_t index) const {
  const auto bytes = stored_bytes(index);
  return ImagePixels(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
}

std::span<const std::byte> MappedPixels::stored_bytes(std::int64_t index) const {
  const Location location = location_of(index);
  return bytes_of(location.file)
      .subspan(static_cast<std::size_t>(location.index) * image_bytes_, image_bytes_);
}

MappedFiles::MappedFiles(const MappedFiles& other, int width, int height)
    : MappedImages(other),
      width_(width),
      height_(height),
      fit_(other.fit_),
      ends_in_(other.ends_in_) {}

void MappedFiles::add(const core::Safetensors& file, std::span<const std::byte> bytes,
                      std::vector<std::int64_t> ends) {
  add_images(file, bytes, std::ssize(ends));
  ends_in_.push_back(std::move(ends));
}

ImagePixels MappedFiles::image(std::int64_t index) const {
  std::unique_lock large(large_images_, std::defer_lock);  // held until `image` is freed
  try {
    const image::Image image = decode_in_turn(stored_bytes(index), large);
    return ImagePixels(image::resize(image, width_, height_, fit_).rgb);
  } catch (const Error& error) {
    throw Error(fmt::format("image {}, counted from 0 over all shards: {}; import the data again",
                            index, error.what()));
  }
}

std::shared_ptr<const ImageStore> MappedFiles::with_size(int width, int height) const {
  return std::shared_ptr<const ImageStore>(new MappedFiles(*this, width, height));
}

std::span<const std::byte> MappedFiles::stored_bytes(std::int64_t index) const {
  const Location location = location_of(index);
  const std::vector<std::int64_t>& ends = ends_in_.at(location.file);
  const auto at = static_cast<std::size_t>(location.index);
  const std::int64_t begin = at == 0 ? 0 : ends[at - 1];
  return bytes_of(location.file)
      .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(ends[at] - begin));
}

std::shared_ptr<const ImageStore> resized_store(std::shared_ptr<const ImageStore> images,
                                                int from_width, int from_height, int width,
                                                int height, core::Fit fit) {
  if (auto sized = images->with_size(width, height)) return sized;
  return std::make_shared<ResizedStore>(std::move(images), from_width, from_height, width, height,
                                        fit);
}

}  // namespace offramp::data::detail
