#include "runtime/layout.h"

#include <fmt/format.h>

namespace offramp::runtime {
namespace {

std::int64_t block_of(Format format, std::int64_t channels) {
  switch (format) {
    case Format::planes:
      return 1;
    case Format::channels_last:
      return channels;
    case Format::blocked4:
      return 4;
    case Format::blocked8:
      return 8;
    case Format::blocked16:
      return 16;
  }
  return 1;
}

std::string_view to_string(Format format) {
  switch (format) {
    case Format::planes:
      return "planes";
    case Format::channels_last:
      return "channels last";
    case Format::blocked4:
      return "blocks of 4 channels";
    case Format::blocked8:
      return "blocks of 8 channels";
    case Format::blocked16:
      return "blocks of 16 channels";
  }
  return "";
}

std::string_view lower_case(core::DType dtype) {
  switch (dtype) {
    case core::DType::bf16:
      return "bf16";
    case core::DType::u8:
      return "u8";
    case core::DType::i8:
      return "i8";
    default:
      return "f32";
  }
}

}  // namespace

kernels::Grid Layout::grid() const {
  kernels::Grid grid;
  grid.channels = shape[0];
  grid.height = shape.size() == 3 ? shape[1] : 1;
  grid.width = shape.size() == 3 ? shape[2] : 1;
  grid.block = block_of(format, grid.channels);
  grid.blocks = (grid.channels + grid.block - 1) / grid.block;
  grid.column_stride = grid.block;
  grid.row_stride = grid.width * grid.column_stride;
  grid.block_stride = grid.height * grid.row_stride;
  return grid;
}

std::int64_t Layout::elements() const {
  const kernels::Grid own = grid();
  return own.blocks * own.block_stride;
}

std::string to_string(const Layout& layout) {
  std::string text = fmt::format("{} {}", lower_case(layout.element.dtype),
                                 core::to_string(std::span(layout.shape)));
  if (layout.shape.size() < 3) return text;
  return fmt::format("{} {}", text, to_string(layout.format));
}

Layout feature_layout(std::int64_t count) { return {{count}, {}, Format::channels_last}; }

}  // namespace offramp::runtime
