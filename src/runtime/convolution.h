#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/layout.h"
#include "runtime/lower.h"
#include "runtime/memory_plan.h"
#include "runtime/operation.h"
#include "runtime/packed_weights.h"

namespace offramp {

struct ConvolutionRequest {
  std::string name;  ///< of its output
  const FusedConv* conv = nullptr;
  Shape src_shape, dst_shape;
  /// Where src is quantised, so are weights, residual and dst.
  Element src, dst, residual;
  /// Of src as it is; nullopt if that is free.
  std::optional<Format> src_format;
  int batch = 1;
  std::size_t most_bytes = kMostBytes;  ///< of all weights in the store
};

struct CompiledConvolution {
  std::shared_ptr<const Operation> operation;
  Layout src, dst;  ///< src may have another format than was asked for, if that is much faster
};

/// Compiles dst = act(conv(src) + bias [+ dst]); with a residual, what is added must lie in dst, as
/// elements of its own. Takes whatever layout gives the best implementation.
///
/// Quantised (Jacob et al., 2018, "Quantization and Training of Neural Networks for Efficient
/// Integer-Arithmetic-Only Inference"; symmetric, zero is 0): weights have one scale per output
/// channel, products are summed in 32 bits, and the sum is brought to dst's scale in f32.
CompiledConvolution compile_convolution(const ConvolutionRequest& request, PackedWeights& weights);

}  // namespace offramp
