#include "api/input_loader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/file.h"
#include "core/tensor.h"
#include "image/image.h"

namespace offramp::api {

void InputLoader::load(const ImageView& image, std::span<float> pixels) const {
  switch (image.form_) {
    case ImageView::Form::normalised:
      if (image.values_.size() != pixels.size())
        throw Error(fmt::format("image: {} values, but the network takes {}", image.values_.size(),
                                core::to_string(input_)));
      if (!std::ranges::all_of(image.values_, [](float value) { return std::isfinite(value); }))
        throw Error("image: a value is not finite");
      std::ranges::copy(image.values_, pixels.begin());
      return;
    case ImageView::Form::rgb8:
      load_rgb8(image, pixels);
      return;
    case ImageView::Form::encoded:
      refuse_other_channels();
      image::to_input(image::decode_image(image.bytes_, {.max_pixels = max_pixels_}),
                      preprocessing_, pixels);
      return;
    case ImageView::Form::file:
      refuse_other_channels();
      const std::vector<std::byte> bytes = core::read_file(image.path_, image::kMaxImageBytes);
      try {
        image::to_input(image::decode_image(bytes, {.max_pixels = max_pixels_}), preprocessing_,
                        pixels);
      } catch (const Error& error) {
        core::throw_with_place(image.path_.string(), error);
      }
      return;
  }
}

bool InputLoader::is_quick(const ImageView& image) const {
  if (image.form_ == ImageView::Form::rgb8)
    return image.width_ == preprocessing_.width && image.height_ == preprocessing_.height;
  return image.form_ == ImageView::Form::normalised;
}

void InputLoader::load_rgb8(const ImageView& image, std::span<float> pixels) const {
  refuse_other_channels();
  const image::DecodeLimits limits;
  if (image.width_ < 1 || image.height_ < 1 || image.width_ > limits.max_side ||
      image.height_ > limits.max_side)
    throw Error(fmt::format("image: expected sides of 1 to {} pixels, got {}x{}", limits.max_side,
                            image.width_, image.height_));
  const auto expected =
      static_cast<std::uint64_t>(image.width_) * static_cast<std::uint64_t>(image.height_) * 3;
  if (image.pixels_.size() != expected)
    throw Error(fmt::format("image: {} bytes of pixels, but {}x{} takes {}", image.pixels_.size(),
                            image.width_, image.height_, expected));
  if (expected / 3 > static_cast<std::uint64_t>(max_pixels_))
    throw image::TooLarge(fmt::format("larger than the limit: {}x{}, at most {} pixels",
                                      image.width_, image.height_, max_pixels_),
                          image.width_, image.height_);
  if (is_quick(image))
    image::normalise(image.pixels_, preprocessing_, pixels);
  else
    image::to_input({image.width_, image.height_, {image.pixels_.begin(), image.pixels_.end()}},
                    preprocessing_, pixels);
}

void InputLoader::refuse_other_channels() const {
  if (input_[0] != 3)
    throw Error(
        fmt::format("image: the network takes {} channels, not red, green and blue", input_[0]));
}

void InputLoader::ImageCopy::assign(const ImageView& image) {
  const auto copy = [this](std::span<const std::byte> source) {
    bytes_.assign(source.begin(), source.end());
    return std::span<const std::byte>(bytes_);
  };
  view_ = image;
  switch (image.form_) {
    case ImageView::Form::encoded:
      view_.bytes_ = copy(image.bytes_);
      return;
    case ImageView::Form::rgb8: {
      const auto bytes = copy(std::as_bytes(image.pixels_));
      view_.pixels_ = {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
      return;
    }
    case ImageView::Form::normalised:  // never kept, because is_quick() is true for it
    case ImageView::Form::file:
      return;
  }
}

}  // namespace offramp::api
