#include "runtime/kernels.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

#include "core/clones.h"

namespace offramp::runtime::kernels {
namespace {

// The number of channels that a loop processes at once in registers: four AVX-512 vectors.
constexpr std::int64_t kLanes = 64;

OFFRAMP_INLINE float load(const float* p) { return *p; }
OFFRAMP_INLINE float load(const std::uint16_t* p) {
  const std::uint32_t bits = static_cast<std::uint32_t>(*p) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
OFFRAMP_INLINE float load(const std::uint8_t* p) { return static_cast<float>(*p); }
OFFRAMP_INLINE float load(const std::int8_t* p) { return static_cast<float>(*p); }
OFFRAMP_INLINE void store(float* p, float value) { *p = value; }
OFFRAMP_INLINE void store(std::uint16_t* p, float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t nan = (bits >> 16) | 0x40u;
  *p = static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}
// NaN becomes the smallest value, because a comparison with NaN is false.
OFFRAMP_INLINE void store(std::uint8_t* p, float value) {
  const float low = value > 0.0f ? value : 0.0f;
  *p = static_cast<std::uint8_t>(
      static_cast<std::int32_t>(__builtin_nearbyintf(low < 255.0f ? low : 255.0f)));
}
OFFRAMP_INLINE void store(std::int8_t* p, float value) {
  const float low = value > -128.0f ? value : -128.0f;
  *p = static_cast<std::int8_t>(
      static_cast<std::int32_t>(__builtin_nearbyintf(low < 127.0f ? low : 127.0f)));
}
OFFRAMP_INLINE float larger(float a, float b) { return a > b ? a : b; }
OFFRAMP_INLINE float clamped(float x, const Clamp& clamp) {
  const float low = x < clamp.low ? clamp.low : x;
  return low > clamp.high ? clamp.high : low;
}

/// Calls body(c, n) for pieces of n channels that cover [0, count). A full piece has the constant
/// length kLanes, so that the compiler generates no remainder loop for it.
template <typename Body>
OFFRAMP_INLINE void for_each_piece(std::int64_t count, const Body& body) {
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) body(c, kLanes);
  if (c < count) body(c, count - c);
}

struct Max {
  static constexpr float kStart = -std::numeric_limits<float>::infinity();
  OFFRAMP_INLINE static float join(float a, float b) { return larger(a, b); }
};
struct Sum {
  static constexpr float kStart = 0;
  OFFRAMP_INLINE static float join(float a, float b) { return a + b; }
};

/// Combines the pixels ys × xs of each of n channels, by maximum or sum, into `joined` [n].
template <typename Join, typename T>
OFFRAMP_INLINE void combine_pixels(const T* __restrict src, const Grid& grid, Rows ys, Rows xs,
                                   std::int64_t n, float* __restrict joined) {
  float sums[kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i) sums[i] = Join::kStart;
  for (std::int64_t y = ys.begin; y < ys.end; ++y)
    for (std::int64_t x = xs.begin; x < xs.end; ++x) {
      const T* p = src + y * grid.row_stride + x * grid.column_stride;
      if (n == kLanes) {
        for (std::int64_t i = 0; i < kLanes; ++i) sums[i] = Join::join(sums[i], load(p + i));
      } else {
        for (std::int64_t i = 0; i < n; ++i) sums[i] = Join::join(sums[i], load(p + i));
      }
    }
  for (std::int64_t i = 0; i < n; ++i) joined[i] = sums[i];
}

template <typename Join, typename T>
OFFRAMP_INLINE void pool_body(const Grid& src_grid, const T* src, const Grid& dst_grid, T* dst,
                              const Window& window, float factor, Rows rows) {
  for (std::int64_t b = 0; b < src_grid.blocks; ++b)
    for (std::int64_t oy = rows.begin; oy < rows.end; ++oy)
      for (std::int64_t ox = 0; ox < dst_grid.width; ++ox) {
        const std::int64_t y = oy * window.stride - window.padding,
                           x = ox * window.stride - window.padding;
        const Rows ys{std::max<std::int64_t>(y, 0), std::min(y + window.kernel, src_grid.height)};
        const Rows xs{std::max<std::int64_t>(x, 0), std::min(x + window.kernel, src_grid.width)};
        T* out = dst + b * dst_grid.block_stride + oy * dst_grid.row_stride +
                 ox * dst_grid.column_stride;
        for_each_piece(
            src_grid.block, [&](std::int64_t c, std::int64_t n) __attribute__((always_inline)) {
              float joined[kLanes];
              combine_pixels<Join>(src + b * src_grid.block_stride + c, src_grid, ys, xs, n,
                                   joined);
              for (std::int64_t i = 0; i < n; ++i) store(out + c + i, joined[i] * factor);
            });
      }
}

template <typename T>
OFFRAMP_INLINE void global_average_body(const Grid& grid, const T* src, float* dst) {
  const float factor = 1.0f / static_cast<float>(grid.height * grid.width);
  for (std::int64_t b = 0; b < grid.blocks; ++b)
    for_each_piece(
        grid.block, [&](std::int64_t c, std::int64_t n) __attribute__((always_inline)) {
          float joined[kLanes];
          combine_pixels<Sum>(src + b * grid.block_stride + c, grid, {0, grid.height},
                              {0, grid.width}, n, joined);
          const std::int64_t first = b * grid.block + c;
          const std::int64_t wanted = std::min(n, grid.channels - first);
          for (std::int64_t i = 0; i < wanted; ++i) dst[first + i] = joined[i] * factor;
        });
}

template <typename T>
OFFRAMP_INLINE void pyramid_body(const Pyramid& pyramid, const Grid& grid, const T* src, float* dst,
                                 float* __restrict scratch) {
  const auto &row_cuts = pyramid.row_cuts(), &column_cuts = pyramid.column_cuts();
  const auto cell_rows = static_cast<std::int64_t>(row_cuts.size()) - 1;
  const auto cell_columns = static_cast<std::int64_t>(column_cuts.size()) - 1;
  for (std::int64_t b = 0; b < grid.blocks; ++b)
    for_each_piece(
        grid.block, [&](std::int64_t c, std::int64_t n) __attribute__((always_inline)) {
          for (std::int64_t i = 0; i < cell_rows; ++i)
            for (std::int64_t j = 0; j < cell_columns; ++j)
              combine_pixels<Max>(src + b * grid.block_stride + c, grid,
                                  {row_cuts[i], row_cuts[i + 1]},
                                  {column_cuts[j], column_cuts[j + 1]}, n,
                                  scratch + (i * cell_columns + j) * kLanes);
          // The maxima of the cells are treated as an image with kLanes channels.
          Grid cells;
          cells.column_stride = kLanes;
          cells.row_stride = cell_columns * kLanes;
          const std::int64_t first = b * grid.block + c;
          const std::int64_t wanted = std::min(n, grid.channels - first);
          for (const Pyramid::Level& level : pyramid.levels()) {
            float* out = dst + level.offset * grid.channels + first * level.bins();
            for (const Rows& rows : level.rows)
              for (const Rows& columns : level.columns) {
                float joined[kLanes];
                combine_pixels<Max>(scratch, cells, rows, columns, n, joined);
                for (std::int64_t i = 0; i < wanted; ++i) out[i * level.bins()] = joined[i];
                ++out;
              }
          }
        });
}

template <typename T>
OFFRAMP_INLINE void pack_body(const float* planes, const Grid& grid, float factor, T* dst) {
  const std::int64_t places = grid.height * grid.width;
  for (std::int64_t c = 0; c < grid.blocks * grid.block; ++c) {
    T* out = dst + c / grid.block * grid.block_stride + c % grid.block;
    if (c < grid.channels) {
      const float* plane = planes + c * places;
      for (std::int64_t i = 0; i < places; ++i)
        store(out + i * grid.column_stride, plane[i] * factor);
    } else {
      for (std::int64_t i = 0; i < places; ++i) store(out + i * grid.column_stride, 0.0f);
    }
  }
}

template <typename T>
OFFRAMP_INLINE void flatten_body(const Grid& grid, const T* src, float* dst) {
  const std::int64_t places = grid.height * grid.width;
  for (std::int64_t c = 0; c < grid.channels; ++c) {
    const T* plane = src + c / grid.block * grid.block_stride + c % grid.block;
    for (std::int64_t i = 0; i < places; ++i)
      dst[c * places + i] = load(plane + i * grid.column_stride);
  }
}

template <typename T>
OFFRAMP_INLINE void add_body(const std::byte* const* srcs, std::size_t num_srcs, T* dst,
                             Rows elements, const Clamp& clamp) {
  const auto src = [&](std::size_t k) __attribute__((always_inline)) {
    return reinterpret_cast<const T*>(srcs[k]);
  };
  for_each_piece(
      elements.end - elements.begin, [&](std::int64_t at, std::int64_t n)
                                         __attribute__((always_inline)) {
                                           const std::int64_t begin = elements.begin + at;
                                           float sums[kLanes];
                                           for (std::int64_t i = 0; i < n; ++i)
                                             sums[i] = load(src(0) + begin + i);
                                           for (std::size_t k = 1; k < num_srcs; ++k)
                                             for (std::int64_t i = 0; i < n; ++i)
                                               sums[i] += load(src(k) + begin + i);
                                           for (std::int64_t i = 0; i < n; ++i)
                                             store(dst + begin + i, clamped(sums[i], clamp));
                                         });
}

template <typename T>
OFFRAMP_INLINE void add_quantised_body(const std::byte* const* srcs, const Addend* addends,
                                       std::size_t num_srcs, T* dst, Rows elements,
                                       const Clamp& clamp) {
  for_each_piece(
      elements.end - elements.begin, [&](std::int64_t at,
                                         std::int64_t n) __attribute__((always_inline)) {
        const std::int64_t begin = elements.begin + at;
        float sums[kLanes] = {};
        for (std::size_t k = 0; k < num_srcs; ++k) {
          const Addend& one = addends[k];
          const auto* u8 = reinterpret_cast<const std::uint8_t*>(srcs[k]);
          const auto* i8 = reinterpret_cast<const std::int8_t*>(srcs[k]);
          if (one.is_signed)
            for (std::int64_t i = 0; i < n; ++i) sums[i] += one.factor * load(i8 + begin + i);
          else
            for (std::int64_t i = 0; i < n; ++i) sums[i] += one.factor * load(u8 + begin + i);
        }
        for (std::int64_t i = 0; i < n; ++i) store(dst + begin + i, clamped(sums[i], clamp));
      });
}

template <typename From, typename To>
OFFRAMP_INLINE void scale_body(const Grid& grid, const From* src, const float* factors,
                               const float* shifts, const Clamp& clamp, To* dst) {
  const std::int64_t places = grid.height * grid.width;
  for (std::int64_t b = 0; b < grid.blocks; ++b)
    for (std::int64_t place = 0; place < places; ++place) {
      const std::int64_t at = b * grid.block_stride + place * grid.column_stride;
      const float *factor = factors + b * grid.block, *shift = shifts + b * grid.block;
      for (std::int64_t i = 0; i < grid.block; ++i)
        store(dst + at + i, clamped(load(src + at + i) * factor[i] + shift[i], clamp));
    }
}

OFFRAMP_INLINE void linear_body(const float* src, const float* weights, const float* bias,
                                std::int64_t in, std::int64_t out, const Clamp& clamp, float* dst,
                                Rows images) {
  // The loop over outputs is the outer one, so that its rows of weights stay in the cache for all
  // images.
  constexpr std::int64_t kOutputsAtOnce = 4;
  for (std::int64_t o = 0; o < out; o += kOutputsAtOnce) {
    // Beyond the last output, the last row is computed again and not stored, so that every output
    // is computed by the same instructions, whatever `out` is.
    const float* row[kOutputsAtOnce];
    for (std::int64_t k = 0; k < kOutputsAtOnce; ++k)
      row[k] = weights + std::min(o + k, out - 1) * in;
    for (std::int64_t n = images.begin; n < images.end; ++n) {
      const float* x = src + n * in;
      float a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
      for (std::int64_t i = 0; i < in; ++i) {
        a += row[0][i] * x[i];
        b += row[1][i] * x[i];
        c += row[2][i] * x[i];
        d += row[3][i] * x[i];
      }
      const float sums[kOutputsAtOnce] = {a, b, c, d};
      for (std::int64_t k = 0; k < kOutputsAtOnce && o + k < out; ++k)
        dst[n * out + o + k] = clamped(sums[k] + bias[o + k], clamp);
    }
  }
}

/// Bin i of a level covers [floor(i size / level), ceil((i + 1) size / level)).
Rows bin_of(std::int64_t i, std::int64_t level, std::int64_t size) {
  return {i * size / level, ((i + 1) * size + level - 1) / level};
}

std::vector<std::int64_t> cuts_of(std::int64_t size, const std::vector<int>& levels) {
  std::set<std::int64_t> cuts;
  for (const int level : levels)
    for (int i = 0; i < level; ++i) {
      const Rows bin = bin_of(i, level, size);
      cuts.insert({bin.begin, bin.end});
    }
  return {cuts.begin(), cuts.end()};
}

Rows cells_of(Rows bin, const std::vector<std::int64_t>& cuts) {
  const auto index = [&](std::int64_t cut) {
    return std::lower_bound(cuts.begin(), cuts.end(), cut) - cuts.begin();
  };
  return {index(bin.begin), index(bin.end)};
}

float average_factor(const Window& window) {
  return 1.0f / static_cast<float>(window.kernel * window.kernel);
}

}  // namespace

Pyramid::Pyramid(std::int64_t height, std::int64_t width, const std::vector<int>& levels)
    : row_cuts_(cuts_of(height, levels)), column_cuts_(cuts_of(width, levels)) {
  std::int64_t offset = 0;
  for (const std::int64_t level : levels) {
    Level& added = levels_.emplace_back();
    added.offset = offset;
    for (std::int64_t i = 0; i < level; ++i) {
      added.rows.push_back(cells_of(bin_of(i, level, height), row_cuts_));
      added.columns.push_back(cells_of(bin_of(i, level, width), column_cuts_));
    }
    offset += level * level;
  }
}

std::int64_t Pyramid::scratch_floats() const {
  return static_cast<std::int64_t>((row_cuts_.size() - 1) * (column_cuts_.size() - 1)) * kLanes;
}

OFFRAMP_CLONES void pack(const float* planes, const Grid& grid, float* dst) {
  pack_body(planes, grid, 1, dst);
}
OFFRAMP_CLONES void pack(const float* planes, const Grid& grid, std::uint16_t* dst) {
  pack_body(planes, grid, 1, dst);
}
OFFRAMP_CLONES void pack(const float* planes, const Grid& grid, float factor, std::uint8_t* dst) {
  pack_body(planes, grid, factor, dst);
}
OFFRAMP_CLONES void pack(const float* planes, const Grid& grid, float factor, std::int8_t* dst) {
  pack_body(planes, grid, factor, dst);
}

OFFRAMP_CLONES void max_pool(const Grid& src_grid, const float* src, const Grid& dst_grid,
                             float* dst, const Window& window, Rows rows) {
  pool_body<Max>(src_grid, src, dst_grid, dst, window, 1, rows);
}
OFFRAMP_CLONES void max_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
                             std::uint16_t* dst, const Window& window, Rows rows) {
  pool_body<Max>(src_grid, src, dst_grid, dst, window, 1, rows);
}
OFFRAMP_CLONES void max_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
                             std::uint8_t* dst, const Window& window, Rows rows) {
  pool_body<Max>(src_grid, src, dst_grid, dst, window, 1, rows);
}
OFFRAMP_CLONES void max_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid,
                             std::int8_t* dst, const Window& window, Rows rows) {
  pool_body<Max>(src_grid, src, dst_grid, dst, window, 1, rows);
}
OFFRAMP_CLONES void avg_pool(const Grid& src_grid, const float* src, const Grid& dst_grid,
                             float* dst, const Window& window, Rows rows) {
  pool_body<Sum>(src_grid, src, dst_grid, dst, window, average_factor(window), rows);
}
OFFRAMP_CLONES void avg_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
                             std::uint16_t* dst, const Window& window, Rows rows) {
  pool_body<Sum>(src_grid, src, dst_grid, dst, window, average_factor(window), rows);
}
OFFRAMP_CLONES void avg_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
                             std::uint8_t* dst, const Window& window, Rows rows) {
  pool_body<Sum>(src_grid, src, dst_grid, dst, window, average_factor(window), rows);
}
OFFRAMP_CLONES void avg_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid,
                             std::int8_t* dst, const Window& window, Rows rows) {
  pool_body<Sum>(src_grid, src, dst_grid, dst, window, average_factor(window), rows);
}

OFFRAMP_CLONES void global_average(const Grid& grid, const float* src, float* dst) {
  global_average_body(grid, src, dst);
}
OFFRAMP_CLONES void global_average(const Grid& grid, const std::uint16_t* src, float* dst) {
  global_average_body(grid, src, dst);
}
OFFRAMP_CLONES void global_average(const Grid& grid, const std::uint8_t* src, float* dst) {
  global_average_body(grid, src, dst);
}
OFFRAMP_CLONES void global_average(const Grid& grid, const std::int8_t* src, float* dst) {
  global_average_body(grid, src, dst);
}

OFFRAMP_CLONES void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const float* src,
                                 float* dst, float* scratch) {
  pyramid_body(pyramid, grid, src, dst, scratch);
}
OFFRAMP_CLONES void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const std::uint16_t* src,
                                 float* dst, float* scratch) {
  pyramid_body(pyramid, grid, src, dst, scratch);
}
OFFRAMP_CLONES void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const std::uint8_t* src,
                                 float* dst, float* scratch) {
  pyramid_body(pyramid, grid, src, dst, scratch);
}
OFFRAMP_CLONES void pyramid_pool(const Pyramid& pyramid, const Grid& grid, const std::int8_t* src,
                                 float* dst, float* scratch) {
  pyramid_body(pyramid, grid, src, dst, scratch);
}

OFFRAMP_CLONES void flatten(const Grid& grid, const float* src, float* dst) {
  flatten_body(grid, src, dst);
}
OFFRAMP_CLONES void flatten(const Grid& grid, const std::uint16_t* src, float* dst) {
  flatten_body(grid, src, dst);
}
OFFRAMP_CLONES void flatten(const Grid& grid, const std::uint8_t* src, float* dst) {
  flatten_body(grid, src, dst);
}
OFFRAMP_CLONES void flatten(const Grid& grid, const std::int8_t* src, float* dst) {
  flatten_body(grid, src, dst);
}

OFFRAMP_CLONES void linear(const float* src, const float* weights, const float* bias,
                           std::int64_t in, std::int64_t out, const Clamp& clamp, float* dst,
                           Rows images) {
  linear_body(src, weights, bias, in, out, clamp, dst, images);
}

OFFRAMP_CLONES void add(const std::byte* const* srcs, std::size_t num_srcs, float* dst,
                        Rows elements, const Clamp& clamp) {
  add_body(srcs, num_srcs, dst, elements, clamp);
}
OFFRAMP_CLONES void add(const std::byte* const* srcs, std::size_t num_srcs, std::uint16_t* dst,
                        Rows elements, const Clamp& clamp) {
  add_body(srcs, num_srcs, dst, elements, clamp);
}

OFFRAMP_CLONES void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
                        std::uint8_t* dst, Rows elements, const Clamp& clamp) {
  add_quantised_body(srcs, addends, num_srcs, dst, elements, clamp);
}
OFFRAMP_CLONES void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
                        std::int8_t* dst, Rows elements, const Clamp& clamp) {
  add_quantised_body(srcs, addends, num_srcs, dst, elements, clamp);
}

OFFRAMP_CLONES void scale(const Grid& grid, const float* src, const float* scale,
                          const float* shift, const Clamp& clamp, float* dst) {
  scale_body(grid, src, scale, shift, clamp, dst);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::uint16_t* src, const float* scale,
                          const float* shift, const Clamp& clamp, std::uint16_t* dst) {
  scale_body(grid, src, scale, shift, clamp, dst);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::uint8_t* src, const float* scale,
                          const float* shift, const Clamp& clamp, std::uint8_t* dst) {
  scale_body(grid, src, scale, shift, clamp, dst);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::uint8_t* src, const float* scale,
                          const float* shift, const Clamp& clamp, std::int8_t* dst) {
  scale_body(grid, src, scale, shift, clamp, dst);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::int8_t* src, const float* scale,
                          const float* shift, const Clamp& clamp, std::uint8_t* dst) {
  scale_body(grid, src, scale, shift, clamp, dst);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::int8_t* src, const float* scale,
                          const float* shift, const Clamp& clamp, std::int8_t* dst) {
  scale_body(grid, src, scale, shift, clamp, dst);
}

}  // namespace offramp::runtime::kernels
