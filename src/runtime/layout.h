#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/tensor.h"
#include "graph/graph.h"
#include "runtime/kernels.h"

namespace offramp::runtime {

/// The order in memory of the elements of a tensor [C, H, W] of one image. The images of a batch
/// follow one another, so that each of them is one contiguous block.
enum class Format {
  planes,         ///< [C][H][W]
  channels_last,  ///< [H][W][C]
  blocked4,       ///< [C / 4][H][W][4], the last block padded with zeros
  blocked8,       ///< [C / 8][H][W][8]
  blocked16,      ///< [C / 16][H][W][16]
};

/// The type of a tensor's elements. An element stands for the value scale × element; the scale is 1
/// unless the type is u8 or i8.
struct Element {
  core::DType dtype = core::DType::f32;
  float scale = 1;
  bool is_quantised() const { return dtype == core::DType::u8 || dtype == core::DType::i8; }
  bool operator==(const Element&) const = default;
};

/// The shape, elements and format of a tensor of one image. A tensor [F] of features is treated as
/// an image of 1 × 1 pixels with F channels.
struct Layout {
  graph::Shape shape;
  Element element;
  Format format = Format::channels_last;

  /// The positions of the elements, for the kernels.
  kernels::Grid grid() const;
  /// The number of elements of one image, including the padding of the last block.
  std::int64_t elements() const;
  std::size_t bytes() const {
    return static_cast<std::size_t>(elements()) * core::size_of(element.dtype);
  }
  bool operator==(const Layout&) const = default;
};

/// The text of a layout, for example "bf16 [64,32,32] channels last".
std::string to_string(const Layout& layout);

/// The layout of `count` features, which are always f32.
Layout feature_layout(std::int64_t count);

}  // namespace offramp::runtime
