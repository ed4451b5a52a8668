#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "runtime/kernels.h"

namespace offramp::runtime {

using kernels::Activation;

/// An activation that bounds values.
inline constexpr Activation clamp(float least, float most) {
  return {Activation::Kind::clamp, least, most, 1};
}
inline constexpr Activation kNoActivation, kRelu = clamp(0, Activation::kInfinity),
                                           kRelu6 = clamp(0, 6);

/// Returns the text of an activation for people: "relu", "silu", …
std::string to_string(const Activation& activation);

/// A convolution with the operations fused into it: dst = act(conv(src) + bias + residual). A batch
/// norm is folded into weights and bias: w' = w γ / √(σ² + ε), b' = β + (b - μ) γ / √(σ² + ε).
struct FusedConv {
  graph::Conv conv;
  std::vector<float> weights;  ///< [out, in / groups, kernel.h, kernel.w]
  std::vector<float> bias;     ///< [out]
  std::string residual;        ///< name of the tensor added before the activation; empty: none
  Activation activation;
};

/// dst = act(weights src + bias).
struct FusedLinear {
  std::int64_t out_features = 0;
  /// [out, in]; shared by the operations of all batch sizes
  std::shared_ptr<const std::vector<float>> weights;
  std::vector<float> bias;  ///< [out]
  Activation activation;
  /// The weights in bf16; used instead of `weights` if every weight is a bf16 number, as in
  /// deployment files.
  std::shared_ptr<const std::vector<std::uint16_t>> bf16_weights = {};
  std::size_t weight_bytes() const {
    return weights ? weights->size() * sizeof(float) : bf16_weights->size() * sizeof(std::uint16_t);
  }
};

/// A layer norm over channels.
struct FusedLayerNorm {
  std::vector<float> weight, bias;  ///< [C]
  float eps = 0;
};

/// A batch norm that was not fused into a convolution: dst = act(scale[c] src + shift[c]).
struct Scale {
  std::vector<float> scale, shift;  ///< [C]
  Activation activation;
};

/// A sum that was not fused into a convolution: dst = act(sum of srcs).
struct FusedAdd {
  Activation activation;
};

/// An activation that was not fused into the operation before it.
struct Activate {
  Activation activation = kRelu;
};

using LoweredKind =
    std::variant<FusedConv, FusedLinear, Scale, FusedLayerNorm, FusedAdd, Activate, graph::Multiply,
                 graph::Concat, graph::Slice, graph::ChannelShuffle, graph::MaxPool, graph::AvgPool,
                 graph::AdaptiveAvgPool, graph::GlobalAvgPool, graph::SpatialPyramidPool,
                 graph::Flatten>;

/// Returns the convolution in `kind`; null if it is another operation.
const FusedConv* as_convolution(const LoweredKind& kind);

/// One operation of the runtime. Its output has the name of the last node that was fused into it.
struct LoweredOp {
  std::string output;
  LoweredKind kind;
  std::vector<std::string> inputs;  ///< names of the inputs, without the residual
  /// The inputs (or the residual) that no later operation reads.
  std::vector<std::string> last_reads;
};

/// A segment as the runtime executes it.
struct LoweredSegment {
  std::vector<std::string> inputs;  ///< the outputs of the previous segment, in their order
  std::vector<LoweredOp> body;
  std::vector<std::string> outputs;
  std::string feature;
  /// The operations of the exit; the output of the last one is the logits. Empty if there is no
  /// exit.
  std::vector<LoweredOp> head;
};

/// Returns the values of the parameter with this name as f32. @throws Error if there is none
using WeightSource = std::function<std::vector<float>(const std::string& name)>;

/// Makes a source that reads from `weights`. @param weights  must outlive the source
WeightSource source_of(const core::Tensors& weights);

/// Converts a graph to the operations of the runtime. Batch norms, additions and activations are
/// fused into the convolution before them if no other node reads the tensors between them.
/// @param weights  source of the model's weights; each parameter is requested once
/// @throws Error naming a parameter that is missing
std::vector<LoweredSegment> lower(const graph::Graph& graph, const WeightSource& weights);

}  // namespace offramp::runtime
