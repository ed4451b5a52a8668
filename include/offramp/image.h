#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "offramp/export.h"

namespace offramp {

/// An image to classify, in one of four forms. Only refers to pixels and bytes: they must live
/// until the call that is given it returns.
class OFFRAMP_API ImageView {
 public:
  /// Decoded pixels, red, green, blue, 8 bits each, rows from the top without gaps: [height, width,
  /// 3]. Resized to the network's size if they have another, then normalised.
  static ImageView rgb8(std::span<const std::uint8_t> pixels, int width, int height);
  /// A JPEG or PNG file in memory: any size up to 2^27 pixels, orientation applied.
  static ImageView encoded(std::span<const std::byte> bytes);
  /// A JPEG or PNG file.
  static ImageView file(std::filesystem::path path);
  /// The network's input as it is: [channels, height, width], normalised.
  static ImageView normalised(std::span<const float> values);

 private:
  friend class InputLoader;  // and its Kept
  enum class Form { rgb8, encoded, file, normalised };

  Form form_ = Form::encoded;
  std::span<const std::uint8_t> pixels_;
  int width_ = 0, height_ = 0;
  std::span<const std::byte> bytes_;
  std::filesystem::path path_;
  std::span<const float> values_;
};

}  // namespace offramp
