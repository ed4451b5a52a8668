#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace offramp {

/// Shape of one image's tensor, without the batch: {C, H, W} or {features}.
using Shape = std::vector<std::int64_t>;

// Operations. One struct each; attributes only. Parameters are named after the node:
// "<node>.weight", "<node>.bias", and for batch norm also "<node>.running_mean",
// "<node>.running_var".

/// {C, H, W} -> {out_channels, (H + 2 pad - kernel) / stride + 1, …}; weight [out, C / groups,
/// kernel, kernel].
struct Conv {
  std::int64_t out_channels = 0;
  int kernel = 1;
  int stride = 1;
  int padding = 0;
  int groups = 1;
  bool bias = false;
  bool operator==(const Conv&) const = default;
};
/// Normalises over batch and place, per channel.
struct BatchNorm {
  double eps = 1e-5;
  double momentum = 0.1;  ///< weight of the new batch in the running statistics
  bool operator==(const BatchNorm&) const = default;
};
struct Relu {
  bool operator==(const Relu&) const = default;
};
struct Relu6 {
  bool operator==(const Relu6&) const = default;
};
/// Sum of two or more tensors of one shape.
struct Add {
  bool operator==(const Add&) const = default;
};
/// Joins {C_i, H, W} along the channels.
struct Concat {
  bool operator==(const Concat&) const = default;
};
/// Padding counts as minus infinity; sizes round down.
struct MaxPool {
  int kernel = 2;
  int stride = 2;
  int padding = 0;
  bool operator==(const MaxPool&) const = default;
};
/// Padding counts as zero and is part of the mean (PyTorch's count_include_pad); sizes round down.
struct AvgPool {
  int kernel = 2;
  int stride = 2;
  int padding = 0;
  bool operator==(const AvgPool&) const = default;
};
/// {C, H, W} -> {C}.
struct GlobalAvgPool {
  bool operator==(const GlobalAvgPool&) const = default;
};
/// {C, H, W} -> {C * sum(level²)}: per level l a max pool on an l × l grid, flattened as [C, l, l],
/// the levels joined in the order given. Bin i covers rows floor(i H / l) … ceil((i + 1) H / l) -
/// 1, as PyTorch's adaptive pooling (He et al., Spatial Pyramid Pooling, 2014).
struct SpatialPyramidPool {
  std::vector<int> levels = {1, 2, 4};
  bool operator==(const SpatialPyramidPool&) const = default;
};
/// {C, H, W} -> {C * H * W}.
struct Flatten {
  bool operator==(const Flatten&) const = default;
};
/// {features} -> {out_features}; weight [out_features, features].
struct Linear {
  std::int64_t out_features = 0;
  bool bias = true;
  bool operator==(const Linear&) const = default;
};

using Op = std::variant<Conv, BatchNorm, Relu, Relu6, Add, Concat, MaxPool, AvgPool, GlobalAvgPool,
                        SpatialPyramidPool, Flatten, Linear>;

/// "conv", "batch_norm", … as files spell it.
std::string_view op_name(const Op& op);

/// One operation. Its output tensor carries its name.
struct Node {
  std::string name;
  Op op;
  std::vector<std::string>
      inputs;  ///< names of tensors: earlier nodes', or what the segment is given
  bool operator==(const Node&) const = default;
};

/// A piece of backbone, and the classifier that reads its end.
struct Segment {
  std::string name;                  ///< for people: "layer1.0"
  std::vector<Node> nodes;           ///< in an order that can be executed
  std::vector<std::string> outputs;  ///< tensors handed to the next segment; nothing else survives
  std::string feature;     ///< the tensor a head reads (one this segment computes or is given)
  std::vector<Node> head;  ///< empty: no exit here; else the last node's output is the logits
  bool operator==(const Segment&) const = default;
};

/// The tensor the first segment is given.
inline constexpr std::string_view kInput = "input";

/// A network as data: segments in order, some with a head. Everything else reads this.
/// In a plain network only the last segment has a head.
struct Graph {
  std::string name;  ///< for people: "resnet18"
  Shape input = {3, 32, 32};
  std::int64_t classes = 10;
  std::vector<Segment> segments;
  bool operator==(const Graph&) const = default;
};

/// Exits of the graph, as indices into `segments`, in order.
std::vector<int> exit_segments(const Graph& graph);

/// What a parameter is for: decides initialisation, weight decay and what an optimiser sees.
enum class ParameterRole {
  conv_weight,
  linear_weight,
  bias,
  norm_weight,
  norm_bias,
  running_mean,
  running_var
};

struct Parameter {
  std::string name;
  std::vector<std::int64_t> shape;
  ParameterRole role = ParameterRole::bias;
  int segment = 0;
  bool in_head = false;
  bool trained() const {
    return role != ParameterRole::running_mean && role != ParameterRole::running_var;
  }
};

/// Shape of every tensor by name, the input included. Also the one validator of a graph: afterwards
/// every reader may rely on it.
/// @throws Error naming segment, node and both sides if names repeat, an input is unknown or not
/// handed on,
///         shapes do not fit, a size becomes < 1, a head does not end in {classes}, the last
///         segment has no head
std::map<std::string, Shape, std::less<>> infer_shapes(const Graph& graph);

/// All parameters in execution order, each segment's nodes before its head. @throws as infer_shapes
std::vector<Parameter> parameters(const Graph& graph);

/// Cuts `units` down to exits: merges the segments between the chosen ones and keeps the last.
/// @param after  0-based indices of units after which to cut, increasing, none the last
/// @return a graph of after.size() + 1 segments, each called as its one unit or "<first> to
/// <last>";
///         only the last has a head
/// @throws Error if a cut is out of order or out of range
Graph merge_segments(const Graph& units, const std::vector<int>& after);

/// Takes early exits out of a network: their heads go, and the segments that ended there go on to
/// the next. Nodes called "exits.<k>.…" in the heads that stay get their exit's new k.
/// @param exits  0-based, increasing, none the last
/// @return a graph whose parameters() are, in order, those of `graph` less the heads taken out;
///         only names differ
/// @throws Error if an exit is out of order or out of range
Graph without_exits(const Graph& graph, const std::vector<int>& exits);

}  // namespace offramp
