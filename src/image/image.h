#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/preprocessing.h"
#include "offramp/error.h"

namespace offramp::image {

/// Largest size of an image file, in bytes.
inline constexpr std::uint64_t kMaxImageBytes = std::uint64_t{1} << 28;

/// An upright RGB image with 8 bits per channel. `rgb` has shape [height, width, 3], with rows from
/// top to bottom.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;
};

/// Largest image that is decoded. Larger images are refused before memory is allocated.
struct DecodeLimits {
  std::int64_t max_pixels = std::int64_t{1} << 27;
  std::int64_t max_side = 65535;  ///< in pixels; the limit of the JPEG format
};

/// Thrown for an image that exceeds a limit. Nothing of its size was allocated.
class TooLarge : public Error {
 public:
  TooLarge(const std::string& message, std::int64_t width, std::int64_t height)
      : Error(message), width_(width), height_(height) {}
  std::int64_t width() const { return width_; }
  std::int64_t height() const { return height_; }

 private:
  std::int64_t width_, height_;  // in pixels, both above 0
};

/// Decodes a JPEG, PNG, WebP or BMP to an upright RGB image. The EXIF orientation is applied; gray
/// values are copied to all three channels; CMYK, YCCK and palettes are converted to RGB; 16-bit
/// values are reduced to 8 bits; transparent pixels are blended with white, but for BMP, whose
/// fourth byte many programs leave undefined. Of an animation the first frame is read. A BMP has 8,
/// 24 or 32 bits per pixel without compression.
/// @throws Error without the path of the file: "not a JPEG, PNG, WebP or BMP", "truncated: …",
/// "damaged: …", "not supported: …"; TooLarge "larger than the limit: …"
Image decode_image(std::span<const std::byte> bytes, const DecodeLimits& limits = {});

/// Encodes an image as PNG.
std::vector<std::byte> encode_png(const Image& image);

/// Resizes with an antialiased triangle filter, which PIL calls BILINEAR. An image that has the
/// size already is returned unchanged.
Image resize(const Image& image, int width, int height, core::Fit fit);

/// Converts an image to a network's input: resizes it if needed, scales it to [0, 1] and normalises
/// it. `Augmenter` gives bit-equal values for an image of the network's size that it does not
/// change.
/// @param dst  [3, height, width] f32, of the size in `preprocessing`
void to_input(const Image& image, const core::Preprocessing& preprocessing, std::span<float> dst);
/// Converts pixels that have the size of the network's input already.
/// @param rgb  [height, width, 3]
/// @param dst  [3, height, width] f32
void normalise(std::span<const std::uint8_t> rgb, const core::Preprocessing& preprocessing,
               std::span<float> dst);

}  // namespace offramp::image
