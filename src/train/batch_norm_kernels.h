#pragma once

#include <cstdint>

// The inner loops of batch norm over a channels-last activation, seen as a matrix
// [rows, channels] with rows = N * H * W. It is stored in f32 or bf16; arithmetic is in f32. Each
// call handles one chunk of rows. The caller distributes chunks over threads and adds their partial
// sums in a fixed order, so that results do not depend on the number of threads.
namespace offramp::train::kernels {

/// The type of the elements in memory.
enum class Storage { f32, bf16 };

/// The size of a chunk.
struct Rows {
  std::int64_t count = 0;
  std::int64_t channels = 0;
};

/// Computes sum[c] = Σ (x - origin[c]) and square[c] = Σ (x - origin[c])². An origin near the mean
/// avoids cancellation when the variance is computed from these sums.
void moments(Storage storage, const void* x, Rows rows, const float* origin, float* sum,
             float* square);

/// Computes y = act(x * scale + shift + residual); residual may be null.
void scale_shift(Storage storage, const void* x, const void* residual, Rows rows,
                 const float* scale, const float* shift, bool relu, void* y);

/// First pass of the gradient: computes sum[c] = Σ dz and product[c] = Σ dz (x - mean[c]). With
/// relu, dz is dy where the output is positive and 0 elsewhere; without relu, dz is dy.
/// @param y   the output if a residual was added, else null: the sign of the output then follows
///            from x, scale and shift
/// @param dz  receives dz if it is not null
void gradient_sums(Storage storage, const void* dy, const void* x, const void* y, Rows rows,
                   const float* scale, const float* shift, const float* mean, bool relu, void* dz,
                   float* sum, float* product);

/// Second pass of the gradient: computes dx = a[c] dz + b[c] x + c0[c].
/// @param dz_or_dy  dz if `masked`, else dy, from which dz is computed as in gradient_sums
void gradient_apply(Storage storage, const void* dz_or_dy, bool masked, const void* x, Rows rows,
                    const float* scale, const float* shift, bool relu, const float* a,
                    const float* b, const float* c0, void* dx);

}  // namespace offramp::train::kernels
