#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "offramp/export.h"

namespace offramp {

namespace api {
class InputLoader;
}

/// An image to classify, in one of four forms. It refers to pixels and bytes without copying them:
/// they must stay valid until the call that takes the view returns.
class OFFRAMP_API ImageView {
 public:
  /// Decoded pixels [height, width, 3]: red, green, blue, 8 bits each, rows from top to bottom
  /// without padding. The image is resized to the network's input size if it differs, then
  /// normalised.
  static ImageView rgb8(std::span<const std::uint8_t> pixels, int width, int height);
  /// The bytes of a JPEG, PNG, WebP or BMP file, of up to 2^27 pixels. An EXIF orientation is
  /// applied.
  static ImageView encoded(std::span<const std::byte> bytes);
  /// The path of a JPEG, PNG, WebP or BMP file, with the limits of encoded().
  static ImageView file(std::filesystem::path path);
  /// The network's input, already resized and normalised: [channels, height, width].
  static ImageView normalised(std::span<const float> values);

 private:
  friend class api::InputLoader;
  enum class Form { rgb8, encoded, file, normalised };

  Form form_ = Form::encoded;
  std::span<const std::uint8_t> pixels_;
  int width_ = 0, height_ = 0;
  std::span<const std::byte> bytes_;
  std::filesystem::path path_;
  std::span<const float> values_;
};

}  // namespace offramp
