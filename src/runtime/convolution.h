#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/layout.h"
#include "runtime/lower.h"
#include "runtime/memory_plan.h"
#include "runtime/primitive_operation.h"

namespace offramp {

/// Weights in the layouts that primitives want, each made once: batch sizes and numbers of threads
/// mostly agree on it. Needed while compiling only; primitives keep what they use.
class WeightStore {
 public:
  /// Whose weights. Quantised ones, and the bias in their units, are others for other scales.
  struct Key {
    std::string name;
    Element src, dst;
  };

  /// @param plain   as a graph has them
  /// @param wanted  the primitive's
  /// @throws Error if all weights kept would take more than most_bytes
  SharedMemory reordered(const Key& key, const dnnl::memory::desc& plain_desc, const void* plain,
                         const dnnl::memory::desc& wanted, std::size_t most_bytes);

  /// Of all weights kept.
  std::size_t bytes() const { return bytes_; }

 private:
  SharedMemory allocate(const dnnl::memory::desc& desc);

  /// By name, and for quantised weights the scales of src and dst.
  std::map<std::tuple<std::string, float, float>, std::vector<SharedMemory>> made_;
  std::shared_ptr<std::byte> chunk_;  // the newest; the others belong to what lies in them
  std::size_t chunk_bytes_ = 0, used_ = 0, bytes_ = 0;
};

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
CompiledConvolution compile_convolution(const ConvolutionRequest& request, WeightStore& weights);

}  // namespace offramp
