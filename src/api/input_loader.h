#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/preprocessing.h"
#include "graph/graph.h"
#include "offramp/image.h"

namespace offramp {

/// Turns what a caller has of an image into what the network takes. Thread-safe.
class [[gnu::visibility("hidden")]] InputLoader {
 public:
  /// @param input  [C, H, W] of the network  @param preprocessing  must outlive this
  InputLoader(const Shape& input, const Preprocessing& preprocessing)
      : input_(input), preprocessing_(preprocessing) {}

  /// @param pixels  [C, H, W], written  @throws Error saying what is wrong with the image
  void load(const ImageView& image, std::span<float> pixels) const;

  /// Whether load() only copies or normalises: nothing is decoded or resized.
  bool is_quick(const ImageView& image) const;

  /// What a view refers to, kept until it is loaded.
  class Kept {
   public:
    void keep(const ImageView& image);
    const ImageView& view() const { return view_; }

   private:
    std::vector<std::byte> bytes_;  // its memory is used again
    ImageView view_;
  };

 private:
  void load_rgb8(const ImageView& image, std::span<float> pixels) const;
  void refuse_other_channels() const;

  Shape input_;
  const Preprocessing& preprocessing_;
};

}  // namespace offramp
