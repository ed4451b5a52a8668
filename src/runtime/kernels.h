#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

// The runtime's own loops, for one image each, on any format and on f32, bf16 (std::uint16_t) or
// quantised elements (std::uint8_t, std::int8_t). Quantised elements are rounded to the nearest,
// ties to even, and saturate; what they stand for is the caller's affair.
// An image's result never depends on the others of its batch. Compiled for several instruction sets
// and chosen when the program starts. `rows` are rows of dst: disjoint ranges may run on different
// threads.
namespace offramp::kernels {

/// Finds element (c, y, x) at (c / block) block_stride + y row_stride + x column_stride +
/// c % block. Lanes of the last block beyond `channels` hold zeros.
struct Grid {
  std::int64_t channels = 0, height = 0, width = 0;
  std::int64_t block = 1, blocks = 0;
  std::int64_t block_stride = 0, row_stride = 0, column_stride = 0;
};

struct Rows {
  std::int64_t begin = 0, end = 0;
};

/// y = min(max(x, low), high): no activation, relu or relu6.
struct Clamp {
  float low = 0, high = 0;
};

struct Window {
  std::int64_t kernel = 1, stride = 1, padding = 0;
};

/// @param planes  [C, H, W];  @param dst  another format and type of the same shape
void pack(const float* planes, const Grid& grid, float* dst);
void pack(const float* planes, const Grid& grid, std::uint16_t* dst);
/// @param factor  elements are values times this
void pack(const float* planes, const Grid& grid, float factor, std::uint8_t* dst);
void pack(const float* planes, const Grid& grid, float factor, std::int8_t* dst);

void max_pool(const Grid& src_grid, const float* src, const Grid& dst_grid, float* dst,
              const Window& window, Rows rows);
void max_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
              std::uint16_t* dst, const Window& window, Rows rows);
void max_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
              std::uint8_t* dst, const Window& window, Rows rows);
void max_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid, std::int8_t* dst,
              const Window& window, Rows rows);
/// Divides by kernel²: padding is part of the mean.
void avg_pool(const Grid& src_grid, const float* src, const Grid& dst_grid, float* dst,
              const Window& window, Rows rows);
void avg_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
              std::uint16_t* dst, const Window& window, Rows rows);
void avg_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
              std::uint8_t* dst, const Window& window, Rows rows);
void avg_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid, std::int8_t* dst,
              const Window& window, Rows rows);

/// @param dst  [C]
void global_average(const Grid& grid, const float* src, float* dst);
void global_average(const Grid& grid, const std::uint16_t* src, float* dst);
void global_average(const Grid& grid, const std::uint8_t* src, float* dst);
void global_average(const Grid& grid, const std::int8_t* src, float* dst);

/// Spatial pyramid pooling, prepared for a height, a width and levels. The borders of all bins of
/// all levels cut the image into cells, so that every element is read once however bins overlap;
/// a bin is the maximum of its cells.
class Pyramid {
 public:
  Pyramid(std::int64_t height, std::int64_t width, const std::vector<int>& levels);

  struct Level {
    std::int64_t offset = 0;          ///< bins per channel before this level
    std::vector<Rows> rows, columns;  ///< [level] of cells
    std::int64_t bins() const { return static_cast<std::int64_t>(rows.size() * columns.size()); }
  };

  const std::vector<std::int64_t>& row_cuts() const { return row_cuts_; }
  const std::vector<std::int64_t>& column_cuts() const { return column_cuts_; }
  const std::vector<Level>& levels() const { return levels_; }
  /// Bins of all levels, per channel.
  std::int64_t bins() const { return levels_.back().offset + levels_.back().bins(); }
  /// Floats that pyramid_pool needs beside src and dst.
  std::int64_t scratch_floats() const;

 private:
  std::vector<std::int64_t> row_cuts_, column_cuts_;  ///< cell i: cuts[i] … cuts[i + 1] - 1
  std::vector<Level> levels_;
};

/// @param dst  [C * bins], per level [C, level, level];  @param scratch  pyramid.scratch_floats()
void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const float* src, float* dst,
                  float* scratch);
void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const std::uint16_t* src, float* dst,
                  float* scratch);
void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const std::uint8_t* src, float* dst,
                  float* scratch);
void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const std::int8_t* src, float* dst,
                  float* scratch);

/// @param dst  [C * H * W] in the order of planes
void flatten(const Grid& grid, const float* src, float* dst);
void flatten(const Grid& grid, const std::uint16_t* src, float* dst);
void flatten(const Grid& grid, const std::uint8_t* src, float* dst);
void flatten(const Grid& grid, const std::int8_t* src, float* dst);

/// dst[n, o] = clamp(bias[o] + weights[o] · src[n]) for images n in `images`.
/// @param src  [N, in];  @param weights  [out, in];  @param dst  [N, out]
void linear(const float* src, const float* weights, const float* bias, std::int64_t in,
            std::int64_t out, const Clamp& clamp, float* dst, Rows images);

/// dst = clamp(sum of srcs) for a range of elements, summed in f32. dst may be one of srcs.
/// @param srcs  tensors of dst's type
void add(const std::byte* const* srcs, std::size_t num_srcs, float* dst, Rows elements,
         const Clamp& clamp);
void add(const std::byte* const* srcs, std::size_t num_srcs, std::uint16_t* dst, Rows elements,
         const Clamp& clamp);

/// What the elements of a quantised tensor are in a sum, and by what they are multiplied.
struct Addend {
  bool is_signed = false;
  float factor = 1;
};
/// dst = clamp(sum of factor × element).
/// @param addends  [num_srcs]
void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
         std::uint8_t* dst, Rows elements, const Clamp& clamp);
void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
         std::int8_t* dst, Rows elements, const Clamp& clamp);

/// dst = clamp(scale[c] src + shift[c]). dst may be src.
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

}  // namespace offramp::kernels
