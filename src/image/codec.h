#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "image/image.h"

// Functions that the decoders of the formats share. Internal to src/image.
namespace offramp::image::detail {

bool is_jpeg(std::span<const std::byte> bytes);
bool is_png(std::span<const std::byte> bytes);
bool is_webp(std::span<const std::byte> bytes);
bool is_bmp(std::span<const std::byte> bytes);
/// Decodes a file to an upright RGB image. The errors are those of decode_image.
Image decode_jpeg(std::span<const std::byte> bytes, const DecodeLimits& limits);
Image decode_png(std::span<const std::byte> bytes, const DecodeLimits& limits);
Image decode_webp(std::span<const std::byte> bytes, const DecodeLimits& limits);
Image decode_bmp(std::span<const std::byte> bytes, const DecodeLimits& limits);

/// @throws Error if a side is not above 0, TooLarge if the size exceeds a limit
void check_size(std::int64_t width, std::int64_t height, const DecodeLimits& limits);

/// Blends pixels of red, green, blue and alpha with white.
/// @param pixels  [pixels, 4]; becomes [pixels, 3]
void blend_with_white(std::vector<std::uint8_t>& pixels);

/// Returns the orientation (1 to 8) from a TIFF block, which follows "Exif\0\0" in a JPEG's APP1
/// segment and is the content of a PNG's eXIf and of a WebP's EXIF chunk. The result is 1 if the
/// block has no orientation or is damaged, because an image is not refused for its metadata.
int exif_orientation(std::span<const std::byte> tiff);

/// Rotates and mirrors an image that is stored with EXIF orientation 1 to 8 so that it is upright.
Image upright(Image image, int orientation);

}  // namespace offramp::image::detail
