#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

// The loops of the operations that oneDNN does not execute. Each call processes one image (linear()
// and add() more), in any Format, with elements in f32, bf16 (std::uint16_t) or quantised
// (std::uint8_t, std::int8_t). Quantised elements are rounded to nearest, ties to even, and
// saturate; the caller handles their scales. The result of an image does not depend on the other
// images of its batch. The functions are compiled for several instruction sets, and the version for
// the CPU is chosen when the program starts. `rows` are rows of dst; different threads may process
// disjoint ranges of rows.
namespace offramp::runtime::kernels {

/// The position of the elements of an image: element (c, y, x) is at (c / block) block_stride +
/// y row_stride + x column_stride + c % block. In the last block, the places for channels beyond
/// `channels` hold zeros.
struct Grid {
  std::int64_t channels = 0, height = 0, width = 0;
  std::int64_t block = 1, blocks = 0;
  std::int64_t block_stride = 0, row_stride = 0, column_stride = 0;
};

/// The half-open range [begin, end) of rows, columns, images or elements.
struct Rows {
  std::int64_t begin = 0, end = 0;
};

/// The bounds of y = min(max(x, low), high), which stands for no activation, relu or relu6.
struct Clamp {
  float low = 0, high = 0;
};

struct Window {
  std::int64_t kernel = 1, stride = 1, padding = 0;
};

/// Converts an image to another format and type.
/// @param planes  [C, H, W];  @param dst  the same shape, as `grid` describes it
void pack(const float* planes, const Grid& grid, float* dst);
void pack(const float* planes, const Grid& grid, std::uint16_t* dst);
/// Converts an image to quantised elements.
/// @param factor  the values are multiplied by it before they are rounded
void pack(const float* planes, const Grid& grid, float factor, std::uint8_t* dst);
void pack(const float* planes, const Grid& grid, float factor, std::int8_t* dst);

/// dst = the maximum of each window of src; padding is not counted.
void max_pool(const Grid& src_grid, const float* src, const Grid& dst_grid, float* dst,
              const Window& window, Rows rows);
void max_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
              std::uint16_t* dst, const Window& window, Rows rows);
void max_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
              std::uint8_t* dst, const Window& window, Rows rows);
void max_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid, std::int8_t* dst,
              const Window& window, Rows rows);
/// dst = the sum of each window of src divided by kernel²: padding counts as zeros.
void avg_pool(const Grid& src_grid, const float* src, const Grid& dst_grid, float* dst,
              const Window& window, Rows rows);
void avg_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
              std::uint16_t* dst, const Window& window, Rows rows);
void avg_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
              std::uint8_t* dst, const Window& window, Rows rows);
void avg_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid, std::int8_t* dst,
              const Window& window, Rows rows);

/// dst = the mean of each channel. @param dst  [C]
void global_average(const Grid& grid, const float* src, float* dst);
void global_average(const Grid& grid, const std::uint16_t* src, float* dst);
void global_average(const Grid& grid, const std::uint8_t* src, float* dst);
void global_average(const Grid& grid, const std::int8_t* src, float* dst);

/// Spatial pyramid pooling for a given height, width and levels. The borders of all bins of all
/// levels divide the image into cells. The maximum of each cell is computed first, and each bin is
/// the maximum of its cells, so that every element is read only once although bins overlap.
class Pyramid {
 public:
  Pyramid(std::int64_t height, std::int64_t width, const std::vector<int>& levels);

  struct Level {
    std::int64_t offset = 0;          ///< number of bins per channel in the levels before this one
    std::vector<Rows> rows, columns;  ///< [level] the range of cells that each bin covers
    std::int64_t bins() const { return static_cast<std::int64_t>(rows.size() * columns.size()); }
  };

  const std::vector<std::int64_t>& row_cuts() const { return row_cuts_; }
  const std::vector<std::int64_t>& column_cuts() const { return column_cuts_; }
  const std::vector<Level>& levels() const { return levels_; }
  /// The number of bins of all levels, per channel.
  std::int64_t bins() const { return levels_.back().offset + levels_.back().bins(); }
  /// The size in floats of the scratch memory that pyramid_pool needs.
  std::int64_t scratch_floats() const;

 private:
  std::vector<std::int64_t> row_cuts_, column_cuts_;  ///< cell i covers [cuts[i], cuts[i + 1])
  std::vector<Level> levels_;
};

/// Pools an image over all bins of a pyramid.
/// @param dst      [C * bins]: for each level [C, level, level]
/// @param scratch  pyramid.scratch_floats() floats
void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const float* src, float* dst,
                  float* scratch);
void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const std::uint16_t* src, float* dst,
                  float* scratch);
void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const std::uint8_t* src, float* dst,
                  float* scratch);
void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const std::int8_t* src, float* dst,
                  float* scratch);

/// Converts an image to features. @param dst  [C * H * W], ordered by channel, row, column
void flatten(const Grid& grid, const float* src, float* dst);
void flatten(const Grid& grid, const std::uint16_t* src, float* dst);
void flatten(const Grid& grid, const std::uint8_t* src, float* dst);
void flatten(const Grid& grid, const std::int8_t* src, float* dst);

/// dst[n, o] = clamp(bias[o] + weights[o] · src[n]) for images n in `images`.
/// @param src  [N, in];  @param weights  [out, in];  @param dst  [N, out]
void linear(const float* src, const float* weights, const float* bias, std::int64_t in,
            std::int64_t out, const Clamp& clamp, float* dst, Rows images);

/// dst = clamp(sum of srcs) for a range of elements, summed in f32. dst may be one of srcs.
/// @param srcs  [num_srcs] tensors with dst's type
void add(const std::byte* const* srcs, std::size_t num_srcs, float* dst, Rows elements,
         const Clamp& clamp);
void add(const std::byte* const* srcs, std::size_t num_srcs, std::uint16_t* dst, Rows elements,
         const Clamp& clamp);

/// The type and the factor of a quantised tensor in a sum.
struct Addend {
  bool is_signed = false;
  float factor = 1;
};
/// dst = clamp(sum of factor × src over all srcs), for quantised tensors.
/// @param addends  [num_srcs]
void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
         std::uint8_t* dst, Rows elements, const Clamp& clamp);
void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
         std::int8_t* dst, Rows elements, const Clamp& clamp);

/// dst = clamp(scale[c] src + shift[c]). dst may be the memory of src.
/// @param scale, shift  [blocks * block], zero beyond `channels`
void scale(const Grid& grid, const float* src, const float* scale, const float* shift,
           const Clamp& clamp, float* dst);
void scale(const Grid& grid, const std::uint16_t* src, const float* scale, const float* shift,
           const Clamp& clamp, std::uint16_t* dst);
void scale(const Grid& grid, const std::uint8_t* src, const float* scale, const float* shift,
           const Clamp& clamp, std::uint8_t* dst);
void scale(const Grid& grid, const std::uint8_t* src, const float* scale, const float* shift,
           const Clamp& clamp, std::int8_t* dst);
void scale(const Grid& grid, const std::int8_t* src, const float* scale, const float* shift,
           const Clamp& clamp, std::uint8_t* dst);
void scale(const Grid& grid, const std::int8_t* src, const float* scale, const float* shift,
           const Clamp& clamp, std::int8_t* dst);

}  // namespace offramp::runtime::kernels
