#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "image/image.h"

// What the decoders share; not part of the folder's interface.
namespace offramp::detail {

bool is_jpeg(std::span<const std::byte> bytes);
bool is_png(std::span<const std::byte> bytes);
/// Upright, converted to RGB; `decode_image` says which errors.
Image decode_jpeg(std::span<const std::byte> bytes, const DecodeLimits& limits);
Image decode_png(std::span<const std::byte> bytes, const DecodeLimits& limits);

/// Throws Error if width × height is nothing or beyond the limit.
void check_size(std::int64_t width, std::int64_t height, const DecodeLimits& limits);

/// Finds the orientation (1 … 8) in a TIFF block, which is what follows "Exif\0\0" in a JPEG's APP1
/// segment and what a PNG's eXIf chunk holds. 1 if there is none or the block makes no sense: a
/// picture is not refused for its metadata.
int exif_orientation(std::span<const std::byte> tiff);

/// Turns and mirrors an image stored under EXIF orientation 1 … 8 so that it is upright.
Image upright(Image image, int orientation);

}  // namespace offramp::detail
