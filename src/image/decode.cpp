#include <algorithm>

#include "core/error.h"
#include "image/codec.h"
#include "image/signature.h"

namespace offramp::image {

namespace detail {

void check_size(std::int64_t width, std::int64_t height, const DecodeLimits& limits) {
  if (width <= 0 || height <= 0)
    throw Error(fmt::format("damaged: the image is {}x{}", width, height));
  if (std::max(width, height) > limits.max_side)
    throw Error(fmt::format("larger than the limit: {}x{}, at most {} pixels a side", width, height,
                            limits.max_side));
  if (width > limits.max_pixels / height) {
    throw Error(fmt::format("larger than the limit: {}x{}, at most {} pixels", width, height,
                            limits.max_pixels));
  }
}

}  // namespace detail

bool has_image_signature(std::span<const std::byte> bytes) {
  return detail::is_jpeg(bytes) || detail::is_png(bytes);
}

Image decode_image(std::span<const std::byte> bytes, const DecodeLimits& limits) {
  if (bytes.empty()) throw Error("not a JPEG or PNG: no bytes");
  if (detail::is_jpeg(bytes)) return detail::decode_jpeg(bytes, limits);
  if (detail::is_png(bytes)) return detail::decode_png(bytes, limits);
  throw Error("not a JPEG or PNG");
}

}  // namespace offramp::image
