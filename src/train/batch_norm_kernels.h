#pragma once

#include <cstdint>

// Loops over rows of a channels-last activation [rows, channels] (rows = N * H * W), in f32 or bf16
// storage and f32 arithmetic. Each call handles one chunk of rows; the caller spreads chunks over
// threads and adds their partial sums in a fixed order, so that results depend on the shape alone.
namespace offramp::train::kernels {

enum class Storage { f32, bf16 };

struct Rows {
  std::int64_t count = 0;
  std::int64_t channels = 0;
};

/// sum[c] = Σ (x - origin[c]), square[c] = Σ (x - origin[c])². A near origin keeps the variance
/// exact.
void moments(Storage storage, const void* x, Rows rows, const float* origin, float* sum,
             float* square);

/// y = act(x * scale + shift + residual); residual may be null.
void scale_shift(Storage storage, const void* x, const void* residual, Rows rows,
                 const float* scale, const float* shift, bool relu, void* y);

/// First pass of the gradient. dz = relu ? dy where the output was positive : dy, with
/// sum[c] = Σ dz, product[c] = Σ dz (x - mean[c]).
/// @param y   the output where a residual was added, else null (its sign follows from x, scale and
/// shift)
/// @param dz  receives dz if not null
void gradient_sums(Storage storage, const void* dy, const void* x, const void* y, Rows rows,
                   const float* scale, const float* shift, const float* mean, bool relu, void* dz,
                   float* sum, float* product);

/// Second pass: dx = a[c] dz + b[c] x + c0[c], dz as above (taken from `dz_or_dy` as it is if
/// `masked`).
void gradient_apply(Storage storage, const void* dz_or_dy, bool masked, const void* x, Rows rows,
                    const float* scale, const float* shift, bool relu, const float* a,
                    const float* b, const float* c0, void* dx);

}  // namespace offramp::train::kernels
