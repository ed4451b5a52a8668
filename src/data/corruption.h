#pragma once

#include <cstdint>
#include <string>

#include "image/image.h"

namespace offramp {

/// Ways to spoil an image, with the severities of CIFAR-10-C (Hendrycks and Dietterich, 2019).
enum class CorruptionKind {
  gaussian_noise,  ///< independent in every value
  gaussian_blur,   ///< the width is in pixels, whatever the image's size
  brightness,      ///< added to the value of HSV
  contrast,        ///< distance from each channel's mean
};

struct Corruption {
  CorruptionKind kind = CorruptionKind::gaussian_noise;
  int severity = 1;  ///< 1 … 5
};

/// Reads "gaussian_noise:3". @throws UsageError without a place
Corruption parse_corruption(const std::string& text);

/// @param seed  of the noise; the same numbers whatever the kind and severity
Image corrupt(const Image& image, const Corruption& corruption, std::uint64_t seed);

}  // namespace offramp
