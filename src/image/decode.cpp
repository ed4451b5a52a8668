#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

#include "core/error.h"
#include "image/codec.h"
#include "image/signature.h"

namespace offramp::image {

namespace detail {

void check_size(std::int64_t width, std::int64_t height, const DecodeLimits& limits) {
  if (width <= 0 || height <= 0)
    throw Error(fmt::format("damaged: the image is {}x{}", width, height));
  if (std::max(width, height) > limits.max_side)
    throw TooLarge(fmt::format("larger than the limit: {}x{}, at most {} pixels per side", width,
                               height, limits.max_side),
                   width, height);
  if (width > limits.max_pixels / height)
    throw TooLarge(fmt::format("larger than the limit: {}x{}, at most {} pixels", width, height,
                               limits.max_pixels),
                   width, height);
}

void blend_with_white(std::vector<std::uint8_t>& pixels) {
  std::uint8_t* dst = pixels.data();
  for (std::size_t i = 0; i + 3 < pixels.size(); i += 4, dst += 3) {
    const int alpha = pixels[i + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      dst[c] = static_cast<std::uint8_t>((pixels[i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
  pixels.resize(pixels.size() / 4 * 3);
}

}  // namespace detail

namespace {

struct Codec {
  bool (*has_signature)(std::span<const std::byte> bytes);
  Image (*decode)(std::span<const std::byte> bytes, const DecodeLimits& limits);
};

constexpr Codec kCodecs[] = {{detail::is_jpeg, detail::decode_jpeg},
                             {detail::is_png, detail::decode_png},
                             {detail::is_webp, detail::decode_webp},
                             {detail::is_bmp, detail::decode_bmp}};

constexpr std::string_view kExtensions[] = {".jpg", ".jpeg", ".png", ".webp", ".bmp"};

}  // namespace

bool has_image_signature(std::span<const std::byte> bytes) {
  return std::any_of(std::begin(kCodecs), std::end(kCodecs),
                     [&](const Codec& codec) { return codec.has_signature(bytes); });
}

bool has_image_extension(std::string_view name) {
  const std::string_view end = name.substr(name.size() - std::min<std::size_t>(name.size(), 5));
  std::string lower(end);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::any_of(std::begin(kExtensions), std::end(kExtensions),
                     [&](std::string_view extension) { return lower.ends_with(extension); });
}

Image decode_image(std::span<const std::byte> bytes, const DecodeLimits& limits) {
  if (bytes.empty()) throw Error(fmt::format("not a {}: no bytes", kFormats));
  for (const Codec& codec : kCodecs)
    if (codec.has_signature(bytes)) return codec.decode(bytes, limits);
  throw Error(fmt::format("not a {}", kFormats));
}

}  // namespace offramp::image
