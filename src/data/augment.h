#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/preprocessing.h"

namespace offramp::data {

/// Settings of the random changes to training images. By default no change is made.
struct Augmentation {
  int crop_padding = 0;  ///< black pixels added to each side before a random crop; 0: no crop
  /// Mirrors each image left-right in every other epoch, so that any two successive epochs show
  /// both views of it (Jordan, 2024).
  bool flip = false;
  int cutout = 0;  ///< side of a square set to the mean colour; 0: none (DeVries and Taylor, 2017)
  /// Smallest share of the image's area that a random resized crop takes, with a ratio of width to
  /// height from 3/4 to 4/3; 0: none. It cannot be combined with crop_padding.
  float resized_crop = 0;
  bool operator==(const Augmentation&) const = default;
};

/// The random changes that are made to one image in one epoch.
struct AugmentationDraw {
  /// The box of the source image that becomes the whole result, in pixels. The box of a padded crop
  /// has the image's size and may reach outside the image, where pixels are black; the box of a
  /// resized crop lies inside the image and is enlarged.
  int top = 0, left = 0, height = 0, width = 0;
  bool flip = false;  ///< mirrored left-right, after cropping
  /// Upper left corner of the cutout square in the result; the square may reach outside the result.
  int cutout_top = 0, cutout_left = 0;

  bool operator==(const AugmentationDraw&) const = default;
};

/// Augments images of one size and normalises them. An object keeps scratch memory, so each thread
/// needs its own.
class Augmenter {
 public:
  /// @throws UsageError if a setting is out of range, if two settings exclude each other, or if the
  /// padding is not smaller than the image
  Augmenter(const core::Preprocessing& preprocessing, const Augmentation& augmentation,
            std::uint64_t seed);

  /// Draws the changes for an image; they depend on (seed, epoch, image) alone. Whether an image is
  /// flipped and where its cutout lies do not depend on which other changes are enabled.
  /// @param image  the index of the image in its data set
  AugmentationDraw draw(std::uint64_t epoch, std::uint64_t image) const;

  /// Applies drawn changes to an image and normalises it. Without any change the values are
  /// bit-equal to those of `normalise`. A resized crop is enlarged with bilinear interpolation
  /// of pixel centres.
  /// @param rgb  [height, width, 3], of the size in the preprocessing
  /// @param dst  [height, width, 3] f32 normalised; channels last, the layout the trainer uses
  void apply(const AugmentationDraw& draw, std::span<const std::uint8_t> rgb, std::span<float> dst);

  void operator()(std::span<const std::uint8_t> rgb, std::uint64_t epoch, std::uint64_t image,
                  std::span<float> dst) {
    apply(draw(epoch, image), rgb, dst);
  }

 private:
  void copy_box(const AugmentationDraw& draw, const std::uint8_t* rgb, float* dst) const;
  void enlarge_box(const AugmentationDraw& draw, const std::uint8_t* rgb, float* dst);
  void apply_cutout(const AugmentationDraw& draw, float* dst) const;

  // Linear interpolation of two source positions: (1 - share) * first + share * second.
  struct Interpolation {
    int first = 0, second = 0;
    float share = 0;
  };
  static Interpolation interpolation_at(int dst_index, int dst_size, int src_size);

  Augmentation augmentation_;
  std::uint64_t seed_;
  int height_, width_;
  std::array<std::array<float, 256>, 3> normalised_;  // [channel][pixel value] normalised value
  // Per channel, v * scale_ + shift_ normalises a pixel value v that is not a whole number.
  std::array<float, 3> scale_, shift_;
  std::vector<Interpolation> columns_;
  std::vector<float> row_;
};

}  // namespace offramp::data
