#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"

namespace offramp {

enum class Activation { none, relu, relu6 };

/// A convolution with what is computed along with it: dst = act(conv(src) + bias + residual). Batch
/// norm is folded into weights and bias: w' = w γ / √(σ² + ε), b' = β + (b - μ) γ / √(σ² + ε).
struct FusedConv {
  Conv conv;
  std::vector<float> weights;  ///< [out, in / groups, kernel, kernel]
  std::vector<float> bias;     ///< [out]
  std::string residual;        ///< the tensor added before the activation; empty: none
  Activation activation = Activation::none;
};

/// dst = act(weights src + bias).
struct FusedLinear {
  std::int64_t out_features = 0;
  /// [out, in]; shared by the operations of all batch sizes
  std::shared_ptr<const std::vector<float>> weights;
  std::vector<float> bias;  ///< [out]
  Activation activation = Activation::none;
};

/// A batch norm that no convolution could take in: dst = act(scale[c] src + shift[c]).
struct Scale {
  std::vector<float> scale, shift;  ///< [C]
  Activation activation = Activation::none;
};

/// A sum that no convolution could take in.
struct FusedAdd {
  Activation activation = Activation::none;
};

/// An activation that nothing before it could take in.
struct Activate {
  Activation activation = Activation::relu;
};

using LoweredKind = std::variant<FusedConv, FusedLinear, Scale, FusedAdd, Activate, Concat, MaxPool,
                                 AvgPool, GlobalAvgPool, SpatialPyramidPool, Flatten>;

/// The convolution that a kind is; null if it is something else.
const FusedConv* as_convolution(const LoweredKind& kind);

/// One operation of the runtime. Its output is called as the last node it stands for.
struct LoweredOp {
  std::string output;
  LoweredKind kind;
  std::vector<std::string> inputs;      ///< without the residual
  std::vector<std::string> last_reads;  ///< inputs and residual that nothing later reads
};

/// A segment as the runtime executes it.
struct LoweredSegment {
  std::vector<std::string>
      inputs;  ///< tensors it is given, in the order the last one hands them on
  std::vector<LoweredOp> body;
  std::vector<std::string> outputs;
  std::string feature;
  std::vector<LoweredOp> head;  ///< empty: no exit here; else the last op's output is the logits
};

/// Gives the values of a parameter, by its name, as f32. @throws Error if there is none such
using WeightSource = std::function<std::vector<float>(const std::string& name)>;

/// @param weights  must outlive the source
WeightSource source_of(const Tensors& weights);

/// The operations of a graph with batch norms, additions and activations joined to the convolutions
/// before them, wherever nothing else reads what lies between.
/// @param weights  of the model: asked for every parameter once
/// @throws Error naming a parameter that is missing
std::vector<LoweredSegment> lower(const Graph& graph, const WeightSource& weights);

}  // namespace offramp
