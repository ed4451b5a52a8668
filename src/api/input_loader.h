#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/preprocessing.h"
#include "graph/graph.h"
#include "offramp/image.h"

namespace offramp::api {

/// Converts an image in any form of ImageView to the network's input. Thread-safe.
class [[gnu::visibility("hidden")]] InputLoader {
 public:
  /// @param input          [C, H, W], the shape of the network's input
  /// @param preprocessing  must outlive this object
  /// @param max_pixels     largest number of pixels of an image that is decoded or resized
  InputLoader(const graph::Shape& input, const core::Preprocessing& preprocessing,
              std::int64_t max_pixels)
      : input_(input), preprocessing_(preprocessing), max_pixels_(max_pixels) {}

  /// Decodes, resizes and normalises an image.
  /// @param pixels  [C, H, W], written
  /// @throws Error saying what is wrong with the image; image::TooLarge if it exceeds max_pixels
  void load(const ImageView& image, std::span<float> pixels) const;

  /// Whether load() neither decodes nor resizes this image.
  bool is_quick(const ImageView& image) const;

  /// A copy of the bytes that a view refers to, for an image that is loaded after the call that
  /// passed it has returned.
  class ImageCopy {
   public:
    void assign(const ImageView& image);
    const ImageView& view() const { return view_; }

   private:
    std::vector<std::byte> bytes_;  // reused for the next image
    ImageView view_;
  };

 private:
  void load_rgb8(const ImageView& image, std::span<float> pixels) const;
  void refuse_other_channels() const;

  graph::Shape input_;
  const core::Preprocessing& preprocessing_;
  std::int64_t max_pixels_;
};

}  // namespace offramp::api
