#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/preprocessing.h"

namespace offramp {

/// Largest file that is taken for an image.
inline constexpr std::uint64_t kMaxImageBytes = std::uint64_t{1} << 28;

/// An upright RGB image, 8 bits a channel, rows top to bottom, pixels interleaved: [height, width,
/// 3].
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;
};

/// What a decoder may be asked to hold; larger images are refused before they are allocated.
struct DecodeLimits {
  std::int64_t max_pixels = std::int64_t{1} << 27;
  std::int64_t max_side = 65535;  ///< JPEG's own
};

/// Decodes a JPEG or PNG to an upright RGB image: EXIF orientation applied, grayscale spread, CMYK
/// and YCCK converted, 16 bits reduced, palettes expanded, transparency laid over white.
/// @throws Error without a path: "not a JPEG or PNG", "truncated: …", "larger than the limit: …"
Image decode_image(std::span<const std::byte> bytes, const DecodeLimits& limits = {});

/// Encodes as PNG (contact sheets, galleries).
std::vector<std::byte> encode_png(const Image& image);

/// Resizes with an antialiased triangle filter (what PIL calls bilinear); the identity at equal
/// size.
Image resize(const Image& image, int width, int height, Fit fit);

/// The one path from pixels to a network's input: resize if needed, scale to [0, 1], normalise.
/// @param dst  [3, height, width] f32 of `preprocessing`
void to_input(const Image& image, const Preprocessing& preprocessing, std::span<float> dst);
/// The same for pixels already at the right size, [height, width, 3].
void normalise(std::span<const std::uint8_t> rgb, const Preprocessing& preprocessing,
               std::span<float> dst);

}  // namespace offramp
