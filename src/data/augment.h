#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/preprocessing.h"

namespace offramp {

/// Random changes to a training image. Off by default.
struct Augmentation {
  int crop_padding = 0;  ///< random crop after padding each side by this many black (0) pixels
  bool flip = false;     ///< left-right, every other epoch: both views in any two (Jordan, 2024)
  int cutout = 0;  ///< side of a square set to the mean colour; 0: none (DeVries and Taylor, 2017)
  float resized_crop = 0;  ///< smallest area share of a random resized crop, ratio 3/4 … 4/3; 0:
                           ///< none (excludes crop_padding)
  bool operator==(const Augmentation&) const = default;
};

/// What is done to one image in one epoch.
struct AugmentationDraw {
  /// The box of the image that becomes the whole result. A padded crop keeps the image's size and
  /// reaches outside it, where all is black; a resized crop lies inside and is enlarged.
  int top = 0, left = 0, height = 0, width = 0;
  bool flip = false;  ///< mirrored left-right, after cropping
  /// Where the cutout square begins in the result; it may reach outside.
  int cutout_top = 0, cutout_left = 0;

  bool operator==(const AugmentationDraw&) const = default;
};

/// Augments images of one size and normalises them. One object a thread: it keeps scratch memory.
class Augmenter {
 public:
  /// @throws UsageError if a setting is out of range, two exclude each other, or the padding is not
  /// smaller than the image
  Augmenter(const Preprocessing& preprocessing, const Augmentation& augmentation,
            std::uint64_t seed);

  /// Depends on (seed, epoch, image) alone. Whether an image is flipped and where it is cut out
  /// does not depend on which other changes are on.
  /// @param image  the index of the image in its data set
  AugmentationDraw draw(std::uint64_t epoch, std::uint64_t image) const;

  /// Makes a drawn change and normalises. Without any change the values are bit-equal to those of
  /// `normalise`. Enlarging is bilinear between pixel centres.
  /// @param rgb  [height, width, 3] of the preprocessing
  /// @param dst  [height, width, 3] f32 normalised: channels last, as the trainer wants it
  void apply(const AugmentationDraw& draw, std::span<const std::uint8_t> rgb, std::span<float> dst);

  void operator()(std::span<const std::uint8_t> rgb, std::uint64_t epoch, std::uint64_t image,
                  std::span<float> dst) {
    apply(draw(epoch, image), rgb, dst);
  }

 private:
  void copy_box(const AugmentationDraw& draw, const std::uint8_t* rgb, float* dst) const;
  void enlarge_box(const AugmentationDraw& draw, const std::uint8_t* rgb, float* dst);
  void cut_out(const AugmentationDraw& draw, float* dst) const;

  // A pixel of the result lies between two of the source: (1 - share) first + share second.
  struct Between {
    int first = 0, second = 0;
    float share = 0;
  };
  static Between between(int dst_index, int dst_size, int src_size);

  Augmentation augmentation_;
  std::uint64_t seed_;
  int height_, width_;
  std::array<std::array<float, 256>, 3> normalised_;  // of each pixel value, per channel
  std::array<float, 3> scale_, shift_;                // the same as a line, for values in between
  std::vector<Between> columns_;
  std::vector<float> row_;
};

}  // namespace offramp
