#include "runtime/kernels.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <type_traits>

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
OFFRAMP_INLINE float clamped(float x, float least, float most) {
  const float low = x < least ? least : x;
  return low > most ? most : low;
}

/// e^x with a relative error of some 2^-23; x is clamped to [-87, 88]. After Cephes (Moshier): the
/// power of two nearest to e^x, times a polynomial.
OFFRAMP_INLINE float exponential(float x) {
  const float bounded = clamped(x, -87.0f, 88.0f);
  // Adding 1.5 · 2^23 rounds to an integer, which the low bits of the sum hold.
  constexpr float kRounder = 12582912.0f;
  const float sum = bounded * 1.44269504f + kRounder;
  const float power = sum - kRounder;
  const float rest = (bounded - power * 0.693359375f) + power * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * rest + 1.3981999507e-3f;
  p = p * rest + 8.3334519073e-3f;
  p = p * rest + 4.1665795894e-2f;
  p = p * rest + 1.6666665459e-1f;
  p = p * rest + 5.0000001201e-1f;
  p = p * (rest * rest) + rest + 1.0f;
  std::int32_t bits, zero;
  std::memcpy(&bits, &sum, sizeof bits);
  std::memcpy(&zero, &kRounder, sizeof zero);
  const std::int32_t exponent =
      static_cast<std::int32_t>(static_cast<std::uint32_t>(bits - zero + 127) << 23);
  float scale;
  std::memcpy(&scale, &exponent, sizeof scale);
  return p * scale;
}
OFFRAMP_INLINE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
/// x Φ(x), where 1 - Φ(|x|) is a polynomial in 1 / (1 + p |x|) times e^(-x²/2), with an error of at
/// most 1e-7 (Abramowitz, Stegun, 1964, 7.1.26).
OFFRAMP_INLINE float gelu(float x) {
  const float magnitude = x < 0.0f ? -x : x;
  const float t = 1.0f / (1.0f + 0.231641888f * magnitude);
  float p = 0.5307027145f;
  p = p * t - 0.7265760135f;
  p = p * t + 0.7107068705f;
  p = p * t - 0.142248368f;
  p = p * t + 0.127414796f;
  const float beyond = p * t * exponential(-0.5f * (x * x));
  return x * (x < 0.0f ? beyond : 1.0f - beyond);
}
/// x times the sigmoid of y, which is 0 for small y: exponential() never returns 0, and a very
/// large x would make the difference visible.
OFFRAMP_INLINE float gated(float x, float y) { return y < -87.0f ? 0.0f : x * sigmoid(y); }
OFFRAMP_INLINE float silu(float x) { return gated(x, x); }
/// x / 2 (1 + tanh(u)) = x / (1 + e^(-2u))
OFFRAMP_INLINE float gelu_tanh(float x) {
  return gated(x, x * (1.595769122f + 0.0713548163f * (x * x)));
}

/// Applies an activation to n of kLanes values. Functions other than a clamp are computed for all
/// lanes, so that each element is computed by the same instructions, wherever it lies.
OFFRAMP_INLINE void activate(const Activation& activation, std::int64_t n, float* x) {
  const float a = activation.a, b = activation.b, factor = activation.factor;
  if (!activation.is_clamp())
    for (std::int64_t i = n; i < kLanes; ++i) x[i] = 0;
  switch (activation.kind) {
    case Activation::Kind::clamp:
      for (std::int64_t i = 0; i < n; ++i) x[i] = clamped(x[i], a, b);
      break;
    case Activation::Kind::sigmoid:
      for (std::int64_t i = 0; i < kLanes; ++i) x[i] = factor * sigmoid(x[i]);
      break;
    case Activation::Kind::hard_sigmoid:
      for (std::int64_t i = 0; i < kLanes; ++i) x[i] = factor * clamped(a * x[i] + b, 0.0f, 1.0f);
      break;
    case Activation::Kind::hard_swish:
      for (std::int64_t i = 0; i < kLanes; ++i)
        x[i] = factor * (x[i] * clamped(x[i] + 3.0f, 0.0f, 6.0f) * (1.0f / 6));
      break;
    case Activation::Kind::silu:
      for (std::int64_t i = 0; i < kLanes; ++i) x[i] = factor * silu(x[i]);
      break;
    case Activation::Kind::gelu:
      for (std::int64_t i = 0; i < kLanes; ++i) x[i] = factor * gelu(x[i]);
      break;
    case Activation::Kind::gelu_tanh:
      for (std::int64_t i = 0; i < kLanes; ++i) x[i] = factor * gelu_tanh(x[i]);
      break;
  }
}

/// Calls body(c, n) for pieces of n channels that cover [0, count). A full piece has the constant
/// length kLanes, so that the compiler generates no remainder loop for it.
template <typename Body>
OFFRAMP_INLINE void for_each_piece(std::int64_t count, const Body& body) {
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) body(c, kLanes);
  if (c < count) body(c, count - c);
}

/// Adds n partial sums in a fixed order, as a tree. n is a power of 2.
template <std::int64_t n>
OFFRAMP_INLINE float sum_of_lanes(float* lanes) {
  for (std::int64_t half = n / 2; half > 0; half /= 2)
    for (std::int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

struct Max {
  static constexpr float kStart = -std::numeric_limits<float>::infinity();
  OFFRAMP_INLINE static float join(float a, float b) { return larger(a, b); }
};
struct Sum {
  static constexpr float kStart = 0;
  OFFRAMP_INLINE static float join(float a, float b) { return a + b; }
};

OFFRAMP_INLINE Taps all_of(Rows range) { return {range.begin, range.end, 1, 0}; }

/// Combines the pixels ys × xs of each of n channels, by maximum or sum, into `joined` [n].
template <typename Join, typename T>
OFFRAMP_INLINE void combine_pixels(const T* __restrict src, const Grid& grid, const Taps& ys,
                                   const Taps& xs, std::int64_t n, float* __restrict joined) {
  float sums[kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i) sums[i] = Join::kStart;
  for (std::int64_t y = ys.begin; y < ys.end; y += ys.step)
    for (std::int64_t x = xs.begin; x < xs.end; x += xs.step) {
      const T* p = src + y * grid.row_stride + x * grid.column_stride;
      if (n == kLanes) {
        for (std::int64_t i = 0; i < kLanes; ++i) sums[i] = Join::join(sums[i], load(p + i));
      } else {
        for (std::int64_t i = 0; i < n; ++i) sums[i] = Join::join(sums[i], load(p + i));
      }
    }
  for (std::int64_t i = 0; i < n; ++i) joined[i] = sums[i];
}

/// The maximum of the pixels ys × xs of each of n channels, without conversion to f32.
template <typename T>
OFFRAMP_INLINE void largest_pixels(const T* src, const Grid& grid, const Taps& ys, const Taps& xs,
                                   std::int64_t n, T* __restrict out) {
  constexpr std::int64_t kFewLanes = 8;
  T largest[kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i) largest[i] = std::numeric_limits<T>::min();
  for (std::int64_t y = ys.begin; y < ys.end; y += ys.step)
    for (std::int64_t x = xs.begin; x < xs.end; x += xs.step) {
      const T* __restrict p = src + y * grid.row_stride + x * grid.column_stride;
      const auto join = [&](std::int64_t i) __attribute__((always_inline)) {
        largest[i] = p[i] > largest[i] ? p[i] : largest[i];
      };
      if (n == kLanes) {
        for (std::int64_t i = 0; i < kLanes; ++i) join(i);
      } else {
        std::int64_t c = 0;
        for (; c + kFewLanes <= n; c += kFewLanes)
          for (std::int64_t i = 0; i < kFewLanes; ++i) join(c + i);
        for (; c < n; ++c) join(c);
      }
    }
  for (std::int64_t i = 0; i < n; ++i) out[i] = largest[i];
}

/// @tparam is_mean  whether the result is divided by the counts of the window
template <typename Join, bool is_mean, typename T>
OFFRAMP_INLINE void pool_body(const Grid& src_grid, const T* src, const Grid& dst_grid, T* dst,
                              const Windows& windows, Rows rows) {
  for (std::int64_t b = 0; b < src_grid.blocks; ++b)
    for (std::int64_t oy = rows.begin; oy < rows.end; ++oy)
      for (std::int64_t ox = 0; ox < dst_grid.width; ++ox) {
        const Taps &ys = windows.rows[static_cast<std::size_t>(oy)],
                   &xs = windows.columns[static_cast<std::size_t>(ox)];
        const float factor = is_mean ? 1.0f / (ys.count * xs.count) : 1.0f;
        T* out = dst + b * dst_grid.block_stride + oy * dst_grid.row_stride +
                 ox * dst_grid.column_stride;
        for_each_piece(
            src_grid.block, [&](std::int64_t c, std::int64_t n) __attribute__((always_inline)) {
              const T* first = src + b * src_grid.block_stride + c;
              if constexpr (sizeof(T) == 1 && !is_mean)
                return largest_pixels(first, src_grid, ys, xs, n, out + c);
              float joined[kLanes];
              combine_pixels<Join>(first, src_grid, ys, xs, n, joined);
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
          combine_pixels<Sum>(src + b * grid.block_stride + c, grid, all_of({0, grid.height}),
                              all_of({0, grid.width}), n, joined);
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
                                  all_of({row_cuts[i], row_cuts[i + 1]}),
                                  all_of({column_cuts[j], column_cuts[j + 1]}), n,
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
                combine_pixels<Max>(scratch, cells, all_of(rows), all_of(columns), n, joined);
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
                             Rows elements, const Activation& activation) {
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
                                           activate(activation, n, sums);
                                           for (std::int64_t i = 0; i < n; ++i)
                                             store(dst + begin + i, sums[i]);
                                         });
}

/// Loads n elements of a quantised tensor, times its factor.
OFFRAMP_INLINE void load_quantised(const std::byte* src, const Addend& type, std::int64_t begin,
                                   std::int64_t n, float* values) {
  const auto* u8 = reinterpret_cast<const std::uint8_t*>(src) + begin;
  const auto* i8 = reinterpret_cast<const std::int8_t*>(src) + begin;
  if (type.is_signed)
    for (std::int64_t i = 0; i < n; ++i) values[i] = type.factor * load(i8 + i);
  else
    for (std::int64_t i = 0; i < n; ++i) values[i] = type.factor * load(u8 + i);
}

template <typename T>
OFFRAMP_INLINE void add_quantised_body(const std::byte* const* srcs, const Addend* addends,
                                       std::size_t num_srcs, T* dst, Rows elements,
                                       const Activation& activation) {
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
        activate(activation, n, sums);
        for (std::int64_t i = 0; i < n; ++i) store(dst + begin + i, sums[i]);
      });
}

template <typename From, typename To>
OFFRAMP_INLINE void scale_body(const Grid& grid, const From* src, const float* factors,
                               const float* shifts, const Activation& activation, To* dst,
                               Rows rows) {
  for (std::int64_t b = 0; b < grid.blocks; ++b)
    for (std::int64_t place = rows.begin * grid.width; place < rows.end * grid.width; ++place) {
      const std::int64_t at = b * grid.block_stride + place * grid.column_stride;
      const float *factor = factors + b * grid.block, *shift = shifts + b * grid.block;
      for_each_piece(
          grid.block, [&](std::int64_t c, std::int64_t n) __attribute__((always_inline)) {
            // Values pass through local memory, which no pointer can alias.
            float values[kLanes];
            for (std::int64_t i = 0; i < n; ++i)
              values[i] = load(src + at + c + i) * factor[c + i] + shift[c + i];
            activate(activation, n, values);
            for (std::int64_t i = 0; i < n; ++i) store(dst + at + c + i, values[i]);
          });
    }
}

template <typename T>
OFFRAMP_INLINE void multiply_body(const T* a, const T* b, T* dst, Rows elements) {
  for (std::int64_t i = elements.begin; i < elements.end; ++i)
    store(dst + i, load(a + i) * load(b + i));
}

template <typename T>
OFFRAMP_INLINE void multiply_quantised_body(const std::byte* a, const std::byte* b,
                                            const Addend* factors, T* dst, Rows elements) {
  for_each_piece(
      elements.end - elements.begin, [&](std::int64_t at, std::int64_t n)
                                         __attribute__((always_inline)) {
                                           const std::int64_t begin = elements.begin + at;
                                           float left[kLanes], right[kLanes];
                                           load_quantised(a, factors[0], begin, n, left);
                                           load_quantised(b, factors[1], begin, n, right);
                                           for (std::int64_t i = 0; i < n; ++i)
                                             store(dst + begin + i, left[i] * right[i]);
                                         });
}

template <typename From, typename To>
OFFRAMP_INLINE void multiply_channels_body(const Grid& grid, const From* src, const float* factors,
                                           float unit, To* dst, Rows rows) {
  for (std::int64_t b = 0; b < grid.blocks; ++b) {
    const float* factor = factors + b * grid.block;
    const std::int64_t wanted = std::min(grid.block, grid.channels - b * grid.block);
    for (std::int64_t place = rows.begin * grid.width; place < rows.end * grid.width; ++place) {
      const std::int64_t at = b * grid.block_stride + place * grid.column_stride;
      for_each_piece(
          wanted, [&](std::int64_t c, std::int64_t n) __attribute__((always_inline)) {
            float values[kLanes];
            for (std::int64_t i = 0; i < n; ++i)
              values[i] = load(src + at + c + i) * (unit * factor[c + i]);
            for (std::int64_t i = 0; i < n; ++i) store(dst + at + c + i, values[i]);
          });
      for (std::int64_t i = wanted; i < grid.block; ++i) store(dst + at + i, 0.0f);
    }
  }
}

template <typename From, typename To>
OFFRAMP_INLINE void layer_norm_body(const Grid& grid, const From* src, const Norm& norm, To* dst,
                                    Rows rows) {
  const float part = 1.0f / static_cast<float>(grid.channels);
  for (std::int64_t place = rows.begin * grid.width; place < rows.end * grid.width; ++place) {
    const std::int64_t at = place * grid.column_stride;
    const auto count = [&](std::int64_t b) __attribute__((always_inline)) {
      return std::min(grid.block, grid.channels - b * grid.block);
    };
    // Channel c goes to lane c % kLanes, in whatever blocks the format has the channels, so that
    // the sums have the same bits in every format.
    const auto summed = [&](auto value) __attribute__((always_inline)) {
      float lanes[kLanes] = {};
      for (std::int64_t b = 0; b < grid.blocks; ++b) {
        const From* x = src + b * grid.block_stride + at;
        float* own = lanes + b * grid.block % kLanes;
        for_each_piece(
            count(b), [&](std::int64_t c, std::int64_t piece) __attribute__((always_inline)) {
              for (std::int64_t i = 0; i < piece; ++i) own[i] += value(load(x + c + i));
            });
      }
      return sum_of_lanes<kLanes>(lanes);
    };
    const float mean = part * summed([](float x) __attribute__((always_inline)) { return x; });
    const float variance =
        summed([mean](float x) __attribute__((always_inline)) { return (x - mean) * (x - mean); });
    const float scale = 1.0f / __builtin_sqrtf(variance * part + norm.eps);
    for (std::int64_t b = 0; b < grid.blocks; ++b) {
      const From* x = src + b * grid.block_stride + at;
      To* y = dst + b * grid.block_stride + at;
      const float *weight = norm.weight + b * grid.block, *bias = norm.bias + b * grid.block;
      const std::int64_t n = count(b);
      for_each_piece(
          n, [&](std::int64_t c, std::int64_t lanes) __attribute__((always_inline)) {
            float values[kLanes];
            for (std::int64_t i = 0; i < lanes; ++i)
              values[i] = (load(x + c + i) - mean) * scale * weight[c + i] + bias[c + i];
            for (std::int64_t i = 0; i < lanes; ++i) store(y + c + i, values[i]);
          });
      for (std::int64_t i = n; i < grid.block; ++i) store(y + i, 0.0f);
    }
  }
}

template <typename T>
OFFRAMP_INLINE void shuffle_body(const Grid& grid, const T* src, std::int64_t groups, T* dst,
                                 Rows rows) {
  const std::int64_t per_group = grid.channels / groups;
  const std::int64_t begin = rows.begin * grid.width, end = rows.end * grid.width;
  if (grid.block == grid.channels) {
    for (std::int64_t place = begin; place < end; ++place) {
      const T* __restrict x = src + place * grid.column_stride;
      T* __restrict y = dst + place * grid.column_stride;
      if (groups == 2) {
        for (std::int64_t j = 0; j < per_group; ++j) {
          y[2 * j] = x[j];
          y[2 * j + 1] = x[per_group + j];
        }
        continue;
      }
      for (std::int64_t i = 0; i < groups; ++i)
        for (std::int64_t j = 0; j < per_group; ++j) y[j * groups + i] = x[i * per_group + j];
    }
    return;
  }
  const auto offset = [&](std::int64_t c) __attribute__((always_inline)) {
    return c / grid.block * grid.block_stride + c % grid.block;
  };
  for (std::int64_t c = 0; c < grid.blocks * grid.block; ++c) {
    T* y = dst + offset(c);
    if (c < grid.channels) {
      const T* x = src + offset(c % groups * per_group + c / groups);
      for (std::int64_t place = begin; place < end; ++place)
        y[place * grid.column_stride] = x[place * grid.column_stride];
    } else {
      for (std::int64_t place = begin; place < end; ++place) y[place * grid.column_stride] = 0;
    }
  }
}

/// Partial sums of a linear layer. The product of feature i is added to lane i % kSums, with a
/// fused multiply-add where the CPU has it, and sum_of_lanes() adds the lanes. The order is written
/// down so that all instruction sets with fused multiply-adds give the same bits.
constexpr std::int64_t kSums = 16;
using Sums = float __attribute__((vector_size(kSums * sizeof(float))));

// It is always inlined, so how a vector is returned does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"
OFFRAMP_INLINE Sums load_sums(const float* from) {
  Sums sums;
  __builtin_memcpy(&sums, from, sizeof sums);
  return sums;
}

/// @param rows  memory for the rows of weights of kOutputsAtOnce outputs, if these are not in f32
template <typename Weight>
OFFRAMP_INLINE void linear_body(const float* src, const Weight* weights, const float* bias,
                                std::int64_t in, std::int64_t out, const Activation& activation,
                                float* dst, std::int64_t images, Rows groups,
                                float* __restrict rows) {
  // The outer loop runs over outputs, so that their rows of weights stay in the cache for all
  // images.
  const std::int64_t first = groups.begin * kOutputsAtOnce,
                     end = std::min(groups.end * kOutputsAtOnce, out);
  const bool is_clamp = activation.is_clamp();
  for (std::int64_t o = first; o < end; o += kOutputsAtOnce) {
    // Beyond the last output, the last row is computed again and not stored, so that every output
    // is computed by the same instructions, whatever `out` is.
    const float* row[kOutputsAtOnce];
    for (std::int64_t k = 0; k < kOutputsAtOnce; ++k) {
      const Weight* own = weights + std::min(o + k, out - 1) * in;
      if constexpr (std::is_same_v<Weight, float>) {
        row[k] = own;
      } else {
        for (std::int64_t i = 0; i < in; ++i) rows[k * in + i] = load(own + i);
        row[k] = rows + k * in;
      }
    }
    for (std::int64_t n = 0; n < images; ++n) {
      const float* x = src + n * in;
      Sums a{}, b{}, c{}, d{};
      std::int64_t i = 0;
      for (; i + kSums <= in; i += kSums) {
        const Sums features = load_sums(x + i);
        a += load_sums(row[0] + i) * features;
        b += load_sums(row[1] + i) * features;
        c += load_sums(row[2] + i) * features;
        d += load_sums(row[3] + i) * features;
      }
      if (i < in) {
        const auto rest = [&](const float* from) __attribute__((always_inline)) {
          float padded[kSums] = {};
          for (std::int64_t lane = 0; i + lane < in; ++lane) padded[lane] = from[i + lane];
          return load_sums(padded);
        };
        const Sums features = rest(x);
        a += rest(row[0]) * features;
        b += rest(row[1]) * features;
        c += rest(row[2]) * features;
        d += rest(row[3]) * features;
      }
      const Sums sums[kOutputsAtOnce] = {a, b, c, d};
      for (std::int64_t k = 0; k < kOutputsAtOnce && o + k < out; ++k) {
        float lanes[kSums];
        __builtin_memcpy(lanes, &sums[k], sizeof lanes);
        const float sum = sum_of_lanes<kSums>(lanes) + bias[o + k];
        dst[n * out + o + k] = is_clamp ? clamped(sum, activation.a, activation.b) : sum;
      }
    }
  }
  if (is_clamp) return;
  for (std::int64_t n = 0; n < images; ++n)
    for_each_piece(
        end - first, [&](std::int64_t at, std::int64_t count) __attribute__((always_inline)) {
          float* y = dst + n * out + first + at;
          float values[kLanes];
          for (std::int64_t i = 0; i < count; ++i) values[i] = y[i];
          activate(activation, count, values);
          for (std::int64_t i = 0; i < count; ++i) y[i] = values[i];
        });
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
                             float* dst, const Windows& windows, Rows rows) {
  pool_body<Max, false>(src_grid, src, dst_grid, dst, windows, rows);
}
OFFRAMP_CLONES void max_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
                             std::uint16_t* dst, const Windows& windows, Rows rows) {
  pool_body<Max, false>(src_grid, src, dst_grid, dst, windows, rows);
}
OFFRAMP_CLONES void max_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
                             std::uint8_t* dst, const Windows& windows, Rows rows) {
  pool_body<Max, false>(src_grid, src, dst_grid, dst, windows, rows);
}
OFFRAMP_CLONES void max_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid,
                             std::int8_t* dst, const Windows& windows, Rows rows) {
  pool_body<Max, false>(src_grid, src, dst_grid, dst, windows, rows);
}
OFFRAMP_CLONES void avg_pool(const Grid& src_grid, const float* src, const Grid& dst_grid,
                             float* dst, const Windows& windows, Rows rows) {
  pool_body<Sum, true>(src_grid, src, dst_grid, dst, windows, rows);
}
OFFRAMP_CLONES void avg_pool(const Grid& src_grid, const std::uint16_t* src, const Grid& dst_grid,
                             std::uint16_t* dst, const Windows& windows, Rows rows) {
  pool_body<Sum, true>(src_grid, src, dst_grid, dst, windows, rows);
}
OFFRAMP_CLONES void avg_pool(const Grid& src_grid, const std::uint8_t* src, const Grid& dst_grid,
                             std::uint8_t* dst, const Windows& windows, Rows rows) {
  pool_body<Sum, true>(src_grid, src, dst_grid, dst, windows, rows);
}
OFFRAMP_CLONES void avg_pool(const Grid& src_grid, const std::int8_t* src, const Grid& dst_grid,
                             std::int8_t* dst, const Windows& windows, Rows rows) {
  pool_body<Sum, true>(src_grid, src, dst_grid, dst, windows, rows);
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
                           std::int64_t in, std::int64_t out, const Activation& activation,
                           float* dst, std::int64_t images, Rows groups) {
  linear_body(src, weights, bias, in, out, activation, dst, images, groups, nullptr);
}
OFFRAMP_CLONES void linear(const float* src, const std::uint16_t* weights, const float* bias,
                           std::int64_t in, std::int64_t out, const Activation& activation,
                           float* dst, std::int64_t images, Rows groups, float* rows) {
  linear_body(src, weights, bias, in, out, activation, dst, images, groups, rows);
}

OFFRAMP_CLONES void add(const std::byte* const* srcs, std::size_t num_srcs, float* dst,
                        Rows elements, const Activation& activation) {
  add_body(srcs, num_srcs, dst, elements, activation);
}
OFFRAMP_CLONES void add(const std::byte* const* srcs, std::size_t num_srcs, std::uint16_t* dst,
                        Rows elements, const Activation& activation) {
  add_body(srcs, num_srcs, dst, elements, activation);
}

OFFRAMP_CLONES void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
                        std::uint8_t* dst, Rows elements, const Activation& activation) {
  add_quantised_body(srcs, addends, num_srcs, dst, elements, activation);
}
OFFRAMP_CLONES void add(const std::byte* const* srcs, const Addend* addends, std::size_t num_srcs,
                        std::int8_t* dst, Rows elements, const Activation& activation) {
  add_quantised_body(srcs, addends, num_srcs, dst, elements, activation);
}

OFFRAMP_CLONES void scale(const Grid& grid, const float* src, const float* scale,
                          const float* shift, const Activation& activation, float* dst, Rows rows) {
  scale_body(grid, src, scale, shift, activation, dst, rows);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::uint16_t* src, const float* scale,
                          const float* shift, const Activation& activation, std::uint16_t* dst,
                          Rows rows) {
  scale_body(grid, src, scale, shift, activation, dst, rows);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::uint8_t* src, const float* scale,
                          const float* shift, const Activation& activation, std::uint8_t* dst,
                          Rows rows) {
  scale_body(grid, src, scale, shift, activation, dst, rows);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::uint8_t* src, const float* scale,
                          const float* shift, const Activation& activation, std::int8_t* dst,
                          Rows rows) {
  scale_body(grid, src, scale, shift, activation, dst, rows);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::int8_t* src, const float* scale,
                          const float* shift, const Activation& activation, std::uint8_t* dst,
                          Rows rows) {
  scale_body(grid, src, scale, shift, activation, dst, rows);
}
OFFRAMP_CLONES void scale(const Grid& grid, const std::int8_t* src, const float* scale,
                          const float* shift, const Activation& activation, std::int8_t* dst,
                          Rows rows) {
  scale_body(grid, src, scale, shift, activation, dst, rows);
}

OFFRAMP_CLONES void multiply(const std::byte* a, const std::byte* b, float* dst, Rows elements) {
  multiply_body(reinterpret_cast<const float*>(a), reinterpret_cast<const float*>(b), dst,
                elements);
}
OFFRAMP_CLONES void multiply(const std::byte* a, const std::byte* b, std::uint16_t* dst,
                             Rows elements) {
  multiply_body(reinterpret_cast<const std::uint16_t*>(a),
                reinterpret_cast<const std::uint16_t*>(b), dst, elements);
}
OFFRAMP_CLONES void multiply(const std::byte* a, const std::byte* b, const Addend* factors,
                             std::uint8_t* dst, Rows elements) {
  multiply_quantised_body(a, b, factors, dst, elements);
}
OFFRAMP_CLONES void multiply(const std::byte* a, const std::byte* b, const Addend* factors,
                             std::int8_t* dst, Rows elements) {
  multiply_quantised_body(a, b, factors, dst, elements);
}

OFFRAMP_CLONES void multiply_channels(const Grid& grid, const float* src, const float* factors,
                                      float unit, float* dst, Rows rows) {
  multiply_channels_body(grid, src, factors, unit, dst, rows);
}
OFFRAMP_CLONES void multiply_channels(const Grid& grid, const std::uint16_t* src,
                                      const float* factors, float unit, std::uint16_t* dst,
                                      Rows rows) {
  multiply_channels_body(grid, src, factors, unit, dst, rows);
}
OFFRAMP_CLONES void multiply_channels(const Grid& grid, const std::uint8_t* src,
                                      const float* factors, float unit, std::uint8_t* dst,
                                      Rows rows) {
  multiply_channels_body(grid, src, factors, unit, dst, rows);
}
OFFRAMP_CLONES void multiply_channels(const Grid& grid, const std::uint8_t* src,
                                      const float* factors, float unit, std::int8_t* dst,
                                      Rows rows) {
  multiply_channels_body(grid, src, factors, unit, dst, rows);
}
OFFRAMP_CLONES void multiply_channels(const Grid& grid, const std::int8_t* src,
                                      const float* factors, float unit, std::uint8_t* dst,
                                      Rows rows) {
  multiply_channels_body(grid, src, factors, unit, dst, rows);
}
OFFRAMP_CLONES void multiply_channels(const Grid& grid, const std::int8_t* src,
                                      const float* factors, float unit, std::int8_t* dst,
                                      Rows rows) {
  multiply_channels_body(grid, src, factors, unit, dst, rows);
}

OFFRAMP_CLONES void layer_norm(const Grid& grid, const float* src, const Norm& norm, float* dst,
                               Rows rows) {
  layer_norm_body(grid, src, norm, dst, rows);
}
OFFRAMP_CLONES void layer_norm(const Grid& grid, const std::uint16_t* src, const Norm& norm,
                               std::uint16_t* dst, Rows rows) {
  layer_norm_body(grid, src, norm, dst, rows);
}
OFFRAMP_CLONES void layer_norm(const Grid& grid, const std::uint8_t* src, const Norm& norm,
                               std::uint8_t* dst, Rows rows) {
  layer_norm_body(grid, src, norm, dst, rows);
}
OFFRAMP_CLONES void layer_norm(const Grid& grid, const std::uint8_t* src, const Norm& norm,
                               std::int8_t* dst, Rows rows) {
  layer_norm_body(grid, src, norm, dst, rows);
}
OFFRAMP_CLONES void layer_norm(const Grid& grid, const std::int8_t* src, const Norm& norm,
                               std::uint8_t* dst, Rows rows) {
  layer_norm_body(grid, src, norm, dst, rows);
}
OFFRAMP_CLONES void layer_norm(const Grid& grid, const std::int8_t* src, const Norm& norm,
                               std::int8_t* dst, Rows rows) {
  layer_norm_body(grid, src, norm, dst, rows);
}

OFFRAMP_CLONES void shuffle_channels(const Grid& grid, const std::uint8_t* src, std::int64_t groups,
                                     std::uint8_t* dst, Rows rows) {
  shuffle_body(grid, src, groups, dst, rows);
}
OFFRAMP_CLONES void shuffle_channels(const Grid& grid, const std::uint16_t* src,
                                     std::int64_t groups, std::uint16_t* dst, Rows rows) {
  shuffle_body(grid, src, groups, dst, rows);
}
OFFRAMP_CLONES void shuffle_channels(const Grid& grid, const float* src, std::int64_t groups,
                                     float* dst, Rows rows) {
  shuffle_body(grid, src, groups, dst, rows);
}

}  // namespace offramp::runtime::kernels
