#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace offramp::image {

/// The formats that decode_image() reads, as messages name them.
inline constexpr std::string_view kFormats = "JPEG, PNG, WebP or BMP";

/// Number of bytes at the beginning of a file that are enough for has_image_signature().
inline constexpr std::size_t kSignatureBytes = 18;

/// Whether a file begins like one of the formats that decode_image() reads.
bool has_image_signature(std::span<const std::byte> bytes);

/// Whether a file's name ends in .jpg, .jpeg, .png, .webp or .bmp, in upper or lower case.
bool has_image_extension(std::string_view name);

}  // namespace offramp::image
