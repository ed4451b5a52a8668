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

namespace offramp::runtime {

/// A convolution to compile.
struct ConvolutionRequest {
  std::string name;  ///< the name of its output, for messages and as a key of its weights
  const FusedConv* conv = nullptr;
  graph::Shape src_shape, dst_shape;
  /// If src is quantised, so are the weights, residual and dst.
  Element src, dst, residual;
  /// The format that src has already; nullopt if any format can be chosen.
  std::optional<Format> src_format;
  int batch = 1;
  std::size_t max_bytes = kMaxNetworkBytes;  ///< limit on the size of all weights in the store
};

struct CompiledConvolution {
  std::shared_ptr<const Operation> operation;
  Layout src, dst;  ///< src has another format than requested if that is much faster
};

/// Compiles dst = act(conv(src) + bias [+ residual]), in the layouts with the best implementation.
/// The residual must be in dst's memory before the operation runs, with the elements
/// `request.residual`.
///
/// If src is quantised (symmetrically, after Jacob et al., 2018, "Quantization and Training of
/// Neural Networks for Efficient Integer-Arithmetic-Only Inference"), the weights have one scale
/// per output channel, products are summed in 32 bits, and the sum is converted to dst's scale in
/// f32.
/// @throws Error if oneDNN has no implementation, or the weights need more than request.max_bytes
CompiledConvolution compile_convolution(const ConvolutionRequest& request, PackedWeights& weights);

}  // namespace offramp::runtime
