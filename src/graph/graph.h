#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/overloaded.h"

namespace offramp::graph {

/// The shape of a tensor for one image, without the batch: {C, H, W} or {features}.
using Shape = std::vector<std::int64_t>;

/// Two numbers of rows and columns: the sides of a kernel, its strides or its dilations. One number
/// stands for both: `.kernel = 3` is a kernel of 3 × 3.
struct Extent {
  int h = 1, w = 1;
  constexpr Extent() = default;
  constexpr Extent(int both) : h(both), w(both) {}
  constexpr Extent(int rows, int columns) : h(rows), w(columns) {}
  bool operator==(const Extent&) const = default;
};

/// The numbers of rows and columns added at each side of an image. One number stands for all four.
struct Padding {
  int top = 0, left = 0, bottom = 0, right = 0;
  constexpr Padding() = default;
  constexpr Padding(int all) : top(all), left(all), bottom(all), right(all) {}
  constexpr Padding(int above, int before, int below, int behind)
      : top(above), left(before), bottom(below), right(behind) {}
  bool operator==(const Padding&) const = default;
};

/// The extent of a kernel's side on an image: its elements are `dilation` apart.
constexpr std::int64_t dilated(int kernel, int dilation) {
  return std::int64_t{dilation} * (kernel - 1) + 1;
}

// Operations. Each is a struct with its attributes. The parameters of a node are called
// "<node>.weight" and "<node>.bias", and for batch norm also "<node>.running_mean" and
// "<node>.running_var".

/// Convolution: {C, H, W} -> {out_channels, (H + top + bottom - dilated(kernel)) / stride + 1, …}.
/// The weight has the shape [out_channels, C / groups, kernel.h, kernel.w].
struct Conv {
  std::int64_t out_channels = 0;
  Extent kernel = 1;
  Extent stride = 1;
  Padding padding = 0;
  int groups = 1;
  bool bias = false;
  Extent dilation = 1;
  bool operator==(const Conv&) const = default;
};
/// Batch normalisation: normalises each channel over the batch and all positions.
struct BatchNorm {
  double eps = 1e-5;
  double momentum = 0.1;  ///< weight of the new batch in the running statistics
  bool operator==(const BatchNorm&) const = default;
};
/// max(x, 0) of each element.
struct Relu {
  bool operator==(const Relu&) const = default;
};
/// min(max(x, 0), 6) of each element.
struct Relu6 {
  bool operator==(const Relu6&) const = default;
};
/// min(max(x, min), max) of each element.
struct Clip {
  double min = std::numeric_limits<float>::lowest();
  double max = std::numeric_limits<float>::max();
  bool operator==(const Clip&) const = default;
};
/// 1 / (1 + exp(-x)) of each element.
struct Sigmoid {
  bool operator==(const Sigmoid&) const = default;
};
/// min(max(alpha x + beta, 0), 1) of each element.
struct HardSigmoid {
  double alpha = 1.0 / 6;
  double beta = 0.5;
  bool operator==(const HardSigmoid&) const = default;
};
/// x min(max(x + 3, 0), 6) / 6 of each element (Howard et al., 2019).
struct HardSwish {
  bool operator==(const HardSwish&) const = default;
};
/// x / (1 + exp(-x)) of each element; also called swish.
struct Silu {
  bool operator==(const Silu&) const = default;
};
/// The Gaussian error linear unit of each element (Hendrycks, Gimpel, 2016): x Φ(x) with the normal
/// distribution function Φ(x) = (1 + erf(x / √2)) / 2. With `tanh`, the approximation x / 2 (1 +
/// tanh(√(2 / π) (x + 0.044715 x³))).
struct Gelu {
  bool tanh = false;
  bool operator==(const Gelu&) const = default;
};
/// The sum of two or more tensors of the same shape.
struct Add {
  bool operator==(const Add&) const = default;
};
/// The product of two tensors of the same shape, element by element; or of an image {C, H, W} and a
/// vector {C}, which has one factor for each channel.
struct Multiply {
  bool operator==(const Multiply&) const = default;
};
/// Concatenates tensors {C_i, H, W} along the channels.
struct Concat {
  bool operator==(const Concat&) const = default;
};
/// The channels from `begin` to `end` - 1: {C, H, W} -> {end - begin, H, W}.
struct Slice {
  std::int64_t begin = 0;
  std::int64_t end = 1;
  bool operator==(const Slice&) const = default;
};
/// Interleaves the channels of groups (Zhang et al., 2018): with n = C / groups, channel
/// j groups + i of the output is channel i n + j of the input.
struct ChannelShuffle {
  int groups = 2;
  bool operator==(const ChannelShuffle&) const = default;
};
/// Layer normalisation over the channels: normalises each position of {C, H, W}, or a vector
/// {features}, to mean 0 and variance 1, then multiplies by the weight [C] and adds the bias [C].
struct LayerNorm {
  double eps = 1e-6;
  bool operator==(const LayerNorm&) const = default;
};
/// Max pooling. Padding has the value minus infinity. The output size is rounded down, or up with
/// `ceil_mode`; a last window that would begin beyond the input and its leading padding is left
/// out.
struct MaxPool {
  Extent kernel = 2;
  Extent stride = 2;
  Padding padding = 0;
  Extent dilation = 1;
  bool ceil_mode = false;
  bool operator==(const MaxPool&) const = default;
};
/// Average pooling. Padding has the value 0 and, with `count_include_pad`, counts for the mean. The
/// part of a window that `ceil_mode` adds beyond the padding never counts. The output size is that
/// of MaxPool.
struct AvgPool {
  Extent kernel = 2;
  Extent stride = 2;
  Padding padding = 0;
  bool ceil_mode = false;
  bool count_include_pad = true;
  bool operator==(const AvgPool&) const = default;
};
/// The mean over all positions: {C, H, W} -> {C}.
struct GlobalAvgPool {
  bool operator==(const GlobalAvgPool&) const = default;
};
/// The means of the bins of a grid: {C, H, W} -> {C, grid.h, grid.w}. Row i of the grid covers rows
/// floor(i H / grid.h) … ceil((i + 1) H / grid.h) - 1, and columns likewise, as in PyTorch.
struct AdaptiveAvgPool {
  Extent grid = 1;
  bool operator==(const AdaptiveAvgPool&) const = default;
};
/// Spatial pyramid pooling (He et al., 2014): {C, H, W} -> {C * sum(level²)}. Each level l is a max
/// pool on an l × l grid, flattened as [C, l, l]; the levels are concatenated in the order given.
/// Bin i covers rows floor(i H / l) … ceil((i + 1) H / l) - 1, as in PyTorch's adaptive pooling.
struct SpatialPyramidPool {
  std::vector<int> levels = {1, 2, 4};
  bool operator==(const SpatialPyramidPool&) const = default;
};
/// {C, H, W} -> {C * H * W}, row-major.
struct Flatten {
  bool operator==(const Flatten&) const = default;
};
/// Linear layer: {features} -> {out_features}. The weight has the shape [out_features, features].
struct Linear {
  std::int64_t out_features = 0;
  bool bias = true;
  bool operator==(const Linear&) const = default;
};

using Op = std::variant<Conv, BatchNorm, Relu, Relu6, Add, Concat, MaxPool, AvgPool, GlobalAvgPool,
                        SpatialPyramidPool, Flatten, Linear, Clip, Sigmoid, HardSigmoid, HardSwish,
                        Silu, Gelu, Multiply, Slice, ChannelShuffle, LayerNorm, AdaptiveAvgPool>;

/// The operations that compute each element of their output from the same element of their input.
template <typename T>
concept ActivationOp =
    core::OneOf<T, Relu, Relu6, Clip, Sigmoid, HardSigmoid, HardSwish, Silu, Gelu>;

/// Returns the name of an operation as model files spell it: "conv", "batch_norm", …
std::string_view op_name(const Op& op);

/// One operation of a graph. Its output tensor has the name of the node.
struct Node {
  std::string name;
  Op op;
  /// Names of tensors: outputs of earlier nodes of the segment, or tensors passed to the segment.
  std::vector<std::string> inputs;
  bool operator==(const Node&) const = default;
};

/// A part of the backbone and, optionally, the head (classifier) that reads its feature.
struct Segment {
  std::string name;                  ///< shown to people: "layer1.0"
  std::vector<Node> nodes;           ///< in execution order
  std::vector<std::string> outputs;  ///< the tensors passed to the next segment
  std::string feature;     ///< the tensor a head reads: computed here or passed to this segment
  std::vector<Node> head;  ///< empty: no exit; otherwise the last node outputs the logits
  bool operator==(const Segment&) const = default;
};

/// The name of the tensor that is passed to the first segment: the image.
inline constexpr std::string_view kInput = "input";

/// A network as data: segments in order, some with a head. The trainer, the runtime, the cost model
/// and the exporters all read this structure. In a plain network only the last segment has a head.
struct Graph {
  std::string name;  ///< shown to people: "resnet18"
  Shape input = {3, 32, 32};
  std::int64_t classes = 10;
  std::vector<Segment> segments;
  bool operator==(const Graph&) const = default;
};

/// Returns, for each exit in order, the index into `segments` of the segment that ends in it.
std::vector<int> exit_segments(const Graph& graph);

/// The role of a parameter. It decides the initialisation, the weight decay and whether the
/// parameter is trained.
enum class ParameterRole {
  conv_weight,
  linear_weight,
  bias,
  norm_weight,
  norm_bias,
  running_mean,
  running_var
};

/// A parameter of a graph: a weight, a bias or a running statistic.
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

/// Checks a graph and returns the shape of every tensor by name, including the input. This is the
/// only check of graphs: code that reads a graph may rely on it.
/// @throws Error naming segment and node if a name repeats, an input is unknown or not passed to
/// the segment, shapes do not match, a dimension is below 1, a head does not end in {classes} or
/// the last segment has no head
std::map<std::string, Shape, std::less<>> infer_shapes(const Graph& graph);

/// Returns all parameters in execution order, each segment's nodes before its head.
/// @throws Error as infer_shapes()
std::vector<Parameter> parameters(const Graph& graph);

/// Merges the segments of a network so that only the chosen ends of segments remain.
/// @param units  a network with one segment for each place where an exit is possible
/// @param after  0-based indices of units after which a segment ends, increasing, without the last
/// @return a graph of after.size() + 1 segments, each with the name of its only unit or "<first> to
/// <last>"; only the last has a head
/// @throws Error if a cut is out of order or out of range
Graph merge_segments(const Graph& units, const std::vector<int>& after);

/// Removes early exits from a network: their heads are removed, and the segments that ended there
/// are merged with the next. Nodes called "exits.<k>.…" in the remaining heads are renamed to the
/// new k.
/// @param exits  0-based indices of the exits to remove, increasing, without the last exit
/// @return a graph with the parameters() of `graph` in the same order, without those of the removed
/// heads; only names differ
/// @throws Error if an exit is out of order or out of range
Graph remove_exits(const Graph& graph, const std::vector<int>& exits);

}  // namespace offramp::graph
