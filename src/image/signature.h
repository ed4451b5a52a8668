#pragma once

#include <cstddef>
#include <span>

namespace offramp::image {

/// Whether a file begins like one of the formats that decode_image() reads. 12 bytes are enough to
/// tell.
bool has_image_signature(std::span<const std::byte> bytes);

}  // namespace offramp::image
