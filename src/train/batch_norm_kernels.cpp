#include "train/batch_norm_kernels.h"

#include <cstring>

#include "core/bf16.h"
#include "core/clones.h"

namespace offramp::train::kernels {
namespace {

OFFRAMP_INLINE float load(const float* p) { return *p; }
OFFRAMP_INLINE float load(const std::uint16_t* p) {
  const std::uint32_t bits = static_cast<std::uint32_t>(*p) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
OFFRAMP_INLINE void store(float* p, float value) { *p = value; }
OFFRAMP_INLINE void store(std::uint16_t* p, float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t nan = (bits >> 16) | 0x40u;
  *p = static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

template <typename T>
OFFRAMP_INLINE void moments_body(const T* x, Rows rows, const float* __restrict origin,
                                 float* __restrict sum, float* __restrict square) {
  const std::int64_t channels = rows.channels;
  for (std::int64_t c = 0; c < channels; ++c) sum[c] = square[c] = 0;
  std::int64_t r = 0;
  // Four rows at a time need a quarter of the loads and stores of the sums.
  for (; r + 4 <= rows.count; r += 4) {
    const T* row = x + r * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float o = origin[c];
      const float v0 = load(row + c) - o, v1 = load(row + channels + c) - o;
      const float v2 = load(row + 2 * channels + c) - o, v3 = load(row + 3 * channels + c) - o;
      sum[c] += (v0 + v1) + (v2 + v3);
      square[c] += (v0 * v0 + v1 * v1) + (v2 * v2 + v3 * v3);
    }
  }
  for (; r < rows.count; ++r) {
    const T* row = x + r * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float v = load(row + c) - origin[c];
      sum[c] += v;
      square[c] += v * v;
    }
  }
}

template <typename T, bool kResidual, bool kRelu>
OFFRAMP_INLINE void scale_shift_body(const T* x, const T* residual, Rows rows,
                                     const float* __restrict scale, const float* __restrict shift,
                                     T* __restrict y) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::int64_t start = r * rows.channels;
    for (std::int64_t c = 0; c < rows.channels; ++c) {
      float v = load(x + start + c) * scale[c] + shift[c];
      if (kResidual) v += load(residual + start + c);
      if (kRelu) v = v < 0 ? 0.f : v;  // keeps NaN, so that the check of the loss finds it
      store(y + start + c, v);
    }
  }
}

// The source from which gradient_sums computes the sign of the output; none without relu.
enum class Mask { none, from_x, from_y };

template <typename T, Mask kMask, bool kWrite>
OFFRAMP_INLINE void gradient_sums_body(const T* dy, const T* x, const T* y, Rows rows,
                                       const float* __restrict scale, const float* __restrict shift,
                                       const float* __restrict mean, T* __restrict dz,
                                       float* __restrict sum, float* __restrict product) {
  const std::int64_t channels = rows.channels;
  for (std::int64_t c = 0; c < channels; ++c) sum[c] = product[c] = 0;
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::int64_t start = r * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      float g = load(dy + start + c);
      const float v = load(x + start + c);
      if (kMask == Mask::from_x) g = v * scale[c] + shift[c] > 0 ? g : 0.f;
      if (kMask == Mask::from_y) g = load(y + start + c) > 0 ? g : 0.f;
      if (kWrite) store(dz + start + c, g);
      sum[c] += g;
      product[c] += g * (v - mean[c]);
    }
  }
}

template <typename T, bool kMaskFromX>
OFFRAMP_INLINE void gradient_apply_body(const T* dz, const T* x, Rows rows,
                                        const float* __restrict scale,
                                        const float* __restrict shift, const float* __restrict a,
                                        const float* __restrict b, const float* __restrict c0,
                                        T* __restrict dx) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::int64_t start = r * rows.channels;
    for (std::int64_t c = 0; c < rows.channels; ++c) {
      float g = load(dz + start + c);
      const float v = load(x + start + c);
      if (kMaskFromX) g = v * scale[c] + shift[c] > 0 ? g : 0.f;
      store(dx + start + c, a[c] * g + (b[c] * v + c0[c]));
    }
  }
}

template <typename T>
OFFRAMP_INLINE void scale_shift_any(const void* x, const void* residual, Rows rows,
                                    const float* scale, const float* shift, bool relu, void* y) {
  const auto* px = static_cast<const T*>(x);
  const auto* pr = static_cast<const T*>(residual);
  auto* py = static_cast<T*>(y);
  if (pr && relu) return scale_shift_body<T, true, true>(px, pr, rows, scale, shift, py);
  if (pr) return scale_shift_body<T, true, false>(px, pr, rows, scale, shift, py);
  if (relu) return scale_shift_body<T, false, true>(px, pr, rows, scale, shift, py);
  scale_shift_body<T, false, false>(px, pr, rows, scale, shift, py);
}

template <typename T>
OFFRAMP_INLINE void gradient_sums_any(const void* dy, const void* x, const void* y, Rows rows,
                                      const float* scale, const float* shift, const float* mean,
                                      bool relu, void* dz, float* sum, float* product) {
  const auto* pdy = static_cast<const T*>(dy);
  const auto* px = static_cast<const T*>(x);
  const auto* py = static_cast<const T*>(y);
  auto* pdz = static_cast<T*>(dz);
  if (!relu)
    return gradient_sums_body<T, Mask::none, false>(pdy, px, py, rows, scale, shift, mean, pdz, sum,
                                                    product);
  if (py)
    return gradient_sums_body<T, Mask::from_y, true>(pdy, px, py, rows, scale, shift, mean, pdz,
                                                     sum, product);
  gradient_sums_body<T, Mask::from_x, false>(pdy, px, py, rows, scale, shift, mean, pdz, sum,
                                             product);
}

}  // namespace

OFFRAMP_CLONES
void moments(Storage storage, const void* x, Rows rows, const float* origin, float* sum,
             float* square) {
  if (storage == Storage::f32)
    return moments_body(static_cast<const float*>(x), rows, origin, sum, square);
  moments_body(static_cast<const std::uint16_t*>(x), rows, origin, sum, square);
}

OFFRAMP_CLONES
void scale_shift(Storage storage, const void* x, const void* residual, Rows rows,
                 const float* scale, const float* shift, bool relu, void* y) {
  if (storage == Storage::f32)
    return scale_shift_any<float>(x, residual, rows, scale, shift, relu, y);
  scale_shift_any<std::uint16_t>(x, residual, rows, scale, shift, relu, y);
}

OFFRAMP_CLONES
void gradient_sums(Storage storage, const void* dy, const void* x, const void* y, Rows rows,
                   const float* scale, const float* shift, const float* mean, bool relu, void* dz,
                   float* sum, float* product) {
  if (storage == Storage::f32)
    return gradient_sums_any<float>(dy, x, y, rows, scale, shift, mean, relu, dz, sum, product);
  gradient_sums_any<std::uint16_t>(dy, x, y, rows, scale, shift, mean, relu, dz, sum, product);
}

OFFRAMP_CLONES
void gradient_apply(Storage storage, const void* dz_or_dy, bool masked, const void* x, Rows rows,
                    const float* scale, const float* shift, bool relu, const float* a,
                    const float* b, const float* c0, void* dx) {
  const bool mask = relu && !masked;
  if (storage == Storage::f32) {
    const auto* g = static_cast<const float*>(dz_or_dy);
    const auto* v = static_cast<const float*>(x);
    auto* out = static_cast<float*>(dx);
    if (mask) return gradient_apply_body<float, true>(g, v, rows, scale, shift, a, b, c0, out);
    return gradient_apply_body<float, false>(g, v, rows, scale, shift, a, b, c0, out);
  }
  const auto* g = static_cast<const std::uint16_t*>(dz_or_dy);
  const auto* v = static_cast<const std::uint16_t*>(x);
  auto* out = static_cast<std::uint16_t*>(dx);
  if (mask)
    return gradient_apply_body<std::uint16_t, true>(g, v, rows, scale, shift, a, b, c0, out);
  gradient_apply_body<std::uint16_t, false>(g, v, rows, scale, shift, a, b, c0, out);
}

}  // namespace offramp::train::kernels
