#pragma once

#include <cstdint>
#include <string>

#include "image/image.h"

namespace offramp::data {

/// Kinds of image corruption, with the severities of CIFAR-10-C (Hendrycks and Dietterich, 2019).
enum class CorruptionKind {
  gaussian_noise,  ///< adds independent normal noise to every value
  gaussian_blur,   ///< blurs by a width in pixels that does not depend on the image's size
  brightness,      ///< adds a constant to the V of HSV
  contrast,        ///< scales the distance of each value from its channel's mean
};

struct Corruption {
  CorruptionKind kind = CorruptionKind::gaussian_noise;
  int severity = 1;  ///< 1 … 5
};

/// Parses "<kind>:<severity>", for example "gaussian_noise:3".
/// @throws UsageError if the kind is unknown or the severity is not 1 to 5; the message names no
/// file or flag, which the caller adds
Corruption parse_corruption(const std::string& text);

/// Returns a corrupted copy of an image.
/// @param seed  seed of the noise; the random numbers do not depend on the severity
image::Image corrupt(const image::Image& image, const Corruption& corruption, std::uint64_t seed);

}  // namespace offramp::data
