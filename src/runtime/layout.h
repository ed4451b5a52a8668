#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/tensor.h"
#include "graph/graph.h"
#include "runtime/kernels.h"

namespace offramp {

/// How the elements of one image's tensor [C, H, W] lie in memory. Images of a batch follow each
/// other, so a format says nothing of the batch and an image can be moved as one piece.
enum class Format {
  planes,         ///< [C][H][W]
  channels_last,  ///< [H][W][C]
  blocked4,       ///< [C / 4][H][W][4], the last block filled up with zeros
  blocked8,       ///< [C / 8][H][W][8]
  blocked16,      ///< [C / 16][H][W][16]
};

/// What a tensor's elements stand for: scale × element. The scale is 1 but for u8 and i8.
struct Element {
  DType dtype = DType::f32;
  float scale = 1;
  bool is_quantised() const { return dtype == DType::u8 || dtype == DType::i8; }
  bool operator==(const Element&) const = default;
};

/// Shape, elements and format of one image's tensor. Features [F] are channels of a 1 × 1 image.
struct Layout {
  Shape shape;
  Element element;
  Format format = Format::channels_last;

  /// What kernels need to find an element.
  kernels::Grid grid() const;
  /// Elements of one image, with those that fill up the last block.
  std::int64_t elements() const;
  std::size_t bytes() const {
    return static_cast<std::size_t>(elements()) * size_of(element.dtype);
  }
  bool operator==(const Layout&) const = default;
};

/// "bf16 [64,32,32] channels last".
std::string to_string(const Layout& layout);

/// Features: always f32.
Layout feature_layout(std::int64_t count);

}  // namespace offramp
