#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
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

/// A function of each element: y = factor f(x).
struct Activation {
  enum class Kind {
    clamp,         ///< min(max(x, a), b); without bounds it is the identity
    sigmoid,       ///< 1 / (1 + exp(-x))
    hard_sigmoid,  ///< min(max(a x + b, 0), 1)
    hard_swish,    ///< x min(max(x + 3, 0), 6) / 6
    silu,          ///< x / (1 + exp(-x))
    gelu,          ///< x Φ(x)
    gelu_tanh      ///< the approximation of gelu with tanh
  };
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  Kind kind = Kind::clamp;
  float a = -kInfinity, b = kInfinity;
  float factor = 1;  ///< 1 for a clamp, whose bounds are in the unit of the result

  bool is_clamp() const { return kind == Kind::clamp; }
  /// Whether 0 becomes 0. Other activations would write into the zeros of a partial block.
  bool keeps_zero() const {
    if (is_clamp()) return a <= 0 && b >= 0;
    return kind != Kind::sigmoid && kind != Kind::hard_sigmoid;
  }
  bool is_none() const { return is_clamp() && a == -kInfinity && b == kInfinity; }
  bool operator==(const Activation&) const = default;
};

/// The rows or columns of a window: begin, begin + step, … below end.
struct Taps {
  std::int64_t begin = 0, end = 0, step = 1;
  float count = 0;  ///< number of elements that count for a mean; padding may count
};
/// The windows of a pool: one element of `rows` for each row of dst, one of `columns` for each
/// column.
struct Windows {
  std::vector<Taps> rows, columns;
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
              const Windows& windows, Rows rows);
void max_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
              std::uint16_t* dst, const Windows& windows, Rows rows);
void max_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
              std::uint8_t* dst, const Windows& windows, Rows rows);
void max_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid, std::int8_t* dst,
              const Windows& windows, Rows rows);
/// dst = the sum of each window of src, divided by the product of the counts of its row and column.
void avg_pool(const Grid& src_grid, const float* src, const Grid& dst_grid, float* dst,
              const Windows& windows, Rows rows);
void avg_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
              std::uint16_t* dst, const Windows& windows, Rows rows);
void avg_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
              std::uint8_t* dst, const Windows& windows, Rows rows);
void avg_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid, std::int8_t* dst,
              const Windows& windows, Rows rows);

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

/// The number of outputs that linear() computes at once.
inline constexpr std::int64_t kOutputsAtOnce = 4;
/// dst[n, o] = activation(bias[o] + weights[o] · src[n]) for all images n.
/// @param src  [N, in];  @param weights  [out, in];  @param dst  [N, out]
/// @param groups  a range of groups of kOutputsAtOnce outputs
void linear(const float* src, const float* weights, const float* bias, std::int64_t in,
            std::int64_t out, const Activation& activation, float* dst, std::int64_t images,
            Rows groups);
/// The same with weights in bf16, which are converted to f32: they give the same bits, and half as
/// many bytes are read.
/// @param rows  memory for kOutputsAtOnce × in values
void linear(const float* src, const std::uint16_t* weights, const float* bias, std::int64_t in,
            std::int64_t out, const Activation& activation, float* dst, std::int64_t images,
            Rows groups, float* rows);

/// dst = activation(sum of srcs) for a range of elements, summed in f32. dst may be one of srcs.
/// @param srcs  [num_srcs] tensors with dst's type
void add(const std::byte* const* srcs, std::size_t num_srcs, float* dst, Rows elements,
         const Activation& activation);
void add(const std::byte* const* srcs, std::size_t num_srcs, std::uint16_t* dst, Rows elements,
         const Activation& activation);

/// The type and the factor of a quantised tensor in a sum or product.
struct Addend {
  bool is_signed = false;
  float factor = 1;
};
/// dst = activation(sum of factor × src over all srcs), for quantised tensors.
/// @param addends  [num_srcs]
void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
         std::uint8_t* dst, Rows elements, const Activation& activation);
void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
         std::int8_t* dst, Rows elements, const Activation& activation);

/// dst = activation(scale[c] src + shift[c]) for rows of an image. dst may be the memory of src.
/// @param scale, shift  [blocks * block], zero beyond `channels`
void scale(const Grid& grid, const float* src, const float* scale, const float* shift,
           const Activation& activation, float* dst, Rows rows);
void scale(const Grid& grid, const std::uint16_t* src, const float* scale, const float* shift,
           const Activation& activation, std::uint16_t* dst, Rows rows);
void scale(const Grid& grid, const std::uint8_t* src, const float* scale, const float* shift,
           const Activation& activation, std::uint8_t* dst, Rows rows);
void scale(const Grid& grid, const std::uint8_t* src, const float* scale, const float* shift,
           const Activation& activation, std::int8_t* dst, Rows rows);
void scale(const Grid& grid, const std::int8_t* src, const float* scale, const float* shift,
           const Activation& activation, std::uint8_t* dst, Rows rows);
void scale(const Grid& grid, const std::int8_t* src, const float* scale, const float* shift,
           const Activation& activation, std::int8_t* dst, Rows rows);

/// dst = src a × src b for a range of elements. dst may be a or b.
void multiply(const std::byte* a, const std::byte* b, float* dst, Rows elements);
void multiply(const std::byte* a, const std::byte* b, std::uint16_t* dst, Rows elements);
/// dst = the product of factor × src over both srcs, for quantised tensors.
/// @param factors  [2]
void multiply(const std::byte* a, const std::byte* b, const Addend* factors, std::uint8_t* dst,
              Rows elements);
void multiply(const std::byte* a, const std::byte* b, const Addend* factors, std::int8_t* dst,
              Rows elements);

/// dst = unit × factors[c] × src for rows of an image. dst may be the memory of src.
/// @param factors  [channels]
void multiply_channels(const Grid& grid, const float* src, const float* factors, float unit,
                       float* dst, Rows rows);
void multiply_channels(const Grid& grid, const std::uint16_t* src, const float* factors, float unit,
                       std::uint16_t* dst, Rows rows);
void multiply_channels(const Grid& grid, const std::uint8_t* src, const float* factors, float unit,
                       std::uint8_t* dst, Rows rows);
void multiply_channels(const Grid& grid, const std::uint8_t* src, const float* factors, float unit,
                       std::int8_t* dst, Rows rows);
void multiply_channels(const Grid& grid, const std::int8_t* src, const float* factors, float unit,
                       std::uint8_t* dst, Rows rows);
void multiply_channels(const Grid& grid, const std::int8_t* src, const float* factors, float unit,
                       std::int8_t* dst, Rows rows);

/// A layer norm over channels.
struct Norm {
  const float* weight = nullptr;  ///< [channels], in units of dst
  const float* bias = nullptr;    ///< [channels], in units of dst
  float eps = 0;                  ///< added to the variance, in squared units of src
};
/// dst = (src - mean) / √(variance + eps) weight[c] + bias[c] at each position of rows of an image.
/// dst may be the memory of src.
void layer_norm(const Grid& grid, const float* src, const Norm& norm, float* dst, Rows rows);
void layer_norm(const Grid& grid, const std::uint16_t* src, const Norm& norm, std::uint16_t* dst,
                Rows rows);
void layer_norm(const Grid& grid, const std::uint8_t* src, const Norm& norm, std::uint8_t* dst,
                Rows rows);
void layer_norm(const Grid& grid, const std::uint8_t* src, const Norm& norm, std::int8_t* dst,
                Rows rows);
void layer_norm(const Grid& grid, const std::int8_t* src, const Norm& norm, std::uint8_t* dst,
                Rows rows);
void layer_norm(const Grid& grid, const std::int8_t* src, const Norm& norm, std::int8_t* dst,
                Rows rows);

/// Interleaves groups of channels: channel j groups + i of dst is channel i (C / groups) + j of
/// src, for rows of an image. Elements have 1, 2 or 4 bytes.
void shuffle_channels(const Grid& grid, const std::uint8_t* src, std::int64_t groups,
                      std::uint8_t* dst, Rows rows);
void shuffle_channels(const Grid& grid, const std::uint16_t* src, std::int64_t groups,
                      std::uint16_t* dst, Rows rows);
void shuffle_channels(const Grid& grid, const float* src, std::int64_t groups, float* dst,
                      Rows rows);

}  // namespace offramp::runtime::kernels
