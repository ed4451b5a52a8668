#pragma once

#include <cstdint>
#include <span>

#include "core/preprocessing.h"
#include "data/dataset.h"

namespace offramp {

/// Random changes to a training image. Off by default.
struct Augmentation {
  int crop_padding = 0;  ///< random crop after padding each side by this many black (0) pixels
  bool flip = false;     ///< left-right, half of the time
  int cutout = 0;  ///< side of a square set to the mean colour; 0: none (DeVries and Taylor, 2017)
  float resized_crop = 0;  ///< smallest area share of a random resized crop, ratio 3/4 … 4/3; 0:
                           ///< none (excludes crop_padding)
  bool operator==(const Augmentation&) const = default;
};

/// Augments one image and normalises it. Randomness is KeyedRandom(seed, epoch, image) alone.
/// @param rgb  [height, width, 3]
/// @param dst  [height, width, 3] f32 normalised: channels last, as the trainer wants it
void augment(std::span<const std::uint8_t> rgb, const Preprocessing& preprocessing,
             const Augmentation& augmentation, std::uint64_t seed, std::uint64_t epoch,
             std::uint64_t image, std::span<float> dst);

}  // namespace offramp
