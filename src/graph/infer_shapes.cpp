#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"
#include "core/overloaded.h"
#include "core/tensor.h"
#include "core/text.h"
#include "graph/graph.h"
#include "graph/output_shape.h"

namespace offramp::graph {
namespace {

// The largest number of elements of a tensor or weight. Products of two such numbers fit in 63
// bits.
constexpr std::int64_t kMaxElements = std::int64_t{1} << 31;

using Shapes = std::map<std::string, Shape, std::less<>>;

/// @throws Error if a shape has a dimension below 1 or more than kMaxElements elements
void check_size(const Shape& shape, std::string_view what) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 1)
      throw Error(fmt::format("{} has a dimension below 1: {}", what, core::to_string(shape)));
    if (size > kMaxElements || count > kMaxElements / size)
      throw Error(fmt::format("{} has more than 2^31 elements: {}", what, core::to_string(shape)));
    count *= size;
  }
}

/// Computes the output shape of one operation. Its errors do not name the place.
class OutputShape {
 public:
  explicit OutputShape(const std::vector<Shape>& inputs) : inputs_(inputs) {}

  Shape operator()(const Conv& conv) const {
    const Shape& in = image();
    check_window(conv.kernel, conv.stride, conv.padding, conv.dilation);
    if (conv.out_channels < 1)
      throw Error(fmt::format("out_channels must be at least 1, got {}", conv.out_channels));
    if (conv.groups < 1) throw Error(fmt::format("groups must be at least 1, got {}", conv.groups));
    if (in[0] % conv.groups != 0 || conv.out_channels % conv.groups != 0)
      throw Error(fmt::format("groups {} must divide both the {} input and the {} output channels",
                              conv.groups, in[0], conv.out_channels));
    check_size({conv.out_channels, in[0] / conv.groups, conv.kernel.h, conv.kernel.w},
               "the weight");
    return windows(conv.out_channels, conv, conv.dilation, false);
  }
  Shape operator()(const BatchNorm& norm) const {
    if (!(norm.eps > 0) || !std::isfinite(norm.eps))
      throw Error(fmt::format("eps must be positive and finite, got {}", norm.eps));
    if (!(norm.momentum >= 0 && norm.momentum <= 1))
      throw Error(fmt::format("momentum must lie in [0, 1], got {}", norm.momentum));
    return image();
  }
  Shape operator()(const core::OneOf<Relu, Relu6, Sigmoid, HardSwish, Silu, Gelu> auto&) const {
    return single();
  }
  Shape operator()(const Clip& clip) const {
    // Bounds beyond the range of f32 would become infinite there.
    constexpr double kMost = std::numeric_limits<float>::max();
    if (!(clip.min >= -kMost && clip.min <= clip.max && clip.max <= kMost))
      throw Error(fmt::format("clips to {} … {}: the bounds must be finite and in order", clip.min,
                              clip.max));
    return single();
  }
  Shape operator()(const HardSigmoid& op) const {
    constexpr double kMost = std::numeric_limits<float>::max();
    if (!(std::abs(op.alpha) <= kMost && std::abs(op.beta) <= kMost))
      throw Error(fmt::format("alpha and beta must be finite, got {} and {}", op.alpha, op.beta));
    return single();
  }
  Shape operator()(const Add&) const {
    several();
    for (const Shape& shape : inputs_)
      if (shape != inputs_[0])
        throw Error(fmt::format("cannot add {} and {}", core::to_string(inputs_[0]),
                                core::to_string(shape)));
    return inputs_[0];
  }
  Shape operator()(const Multiply&) const {
    if (inputs_.size() != 2) throw Error(fmt::format("takes 2 inputs, got {}", inputs_.size()));
    const Shape &a = inputs_[0], &b = inputs_[1];
    const bool by_channel = a.size() == 3 && b == Shape{a[0]};
    if (a != b && !by_channel)
      throw Error(fmt::format("cannot multiply {} by {}", core::to_string(a), core::to_string(b)));
    return a;
  }
  Shape operator()(const Slice& slice) const {
    const Shape& in = image();
    if (slice.begin < 0 || slice.begin >= slice.end || slice.end > in[0])
      throw Error(fmt::format("cannot take channels from {} to {} (exclusive) of {}", slice.begin,
                              slice.end, core::to_string(in)));
    return {slice.end - slice.begin, in[1], in[2]};
  }
  Shape operator()(const ChannelShuffle& shuffle) const {
    const Shape& in = image();
    if (shuffle.groups < 1 || in[0] % shuffle.groups != 0)
      throw Error(
          fmt::format("groups {} must divide the {} input channels", shuffle.groups, in[0]));
    return in;
  }
  Shape operator()(const LayerNorm& norm) const {
    if (!(norm.eps > 0) || !std::isfinite(norm.eps))
      throw Error(fmt::format("eps must be positive and finite, got {}", norm.eps));
    return single();
  }
  Shape operator()(const Concat&) const {
    several();
    std::int64_t channels = 0;
    for (const Shape& shape : inputs_) {
      if (shape.size() != 3 || inputs_[0].size() != 3 || shape[1] != inputs_[0][1] ||
          shape[2] != inputs_[0][2])
        throw Error(fmt::format("cannot join the channels of {} and {}",
                                core::to_string(inputs_[0]), core::to_string(shape)));
      channels += shape[0];
    }
    return {channels, inputs_[0][1], inputs_[0][2]};
  }
  Shape operator()(const MaxPool& pool) const { return pooled(pool, pool.dilation); }
  Shape operator()(const AvgPool& pool) const { return pooled(pool, Extent{1}); }
  Shape operator()(const AdaptiveAvgPool& pool) const {
    if (pool.grid.h < 1 || pool.grid.w < 1)
      throw Error(
          fmt::format("the grid must have at least 1x1 bins, got {}x{}", pool.grid.h, pool.grid.w));
    return {image()[0], pool.grid.h, pool.grid.w};
  }
  Shape operator()(const GlobalAvgPool&) const { return {image()[0]}; }
  Shape operator()(const SpatialPyramidPool& pool) const {
    const std::int64_t channels = image()[0];
    if (pool.levels.empty()) throw Error("needs at least one level");
    std::int64_t bins = 0;
    for (const int level : pool.levels) {
      if (level < 1) throw Error(fmt::format("levels must be at least 1, got {}", level));
      check_size({channels, level, level}, "a level");
      bins += std::int64_t{level} * level;
      check_size({channels, bins}, "the output");
    }
    return {channels * bins};
  }
  Shape operator()(const Flatten&) const {
    const Shape& in = image();
    return {in[0] * in[1] * in[2]};
  }
  Shape operator()(const Linear& linear) const {
    const Shape& in = single();
    if (in.size() != 1)
      throw Error(fmt::format("needs an input [features], got {}", core::to_string(in)));
    if (linear.out_features < 1)
      throw Error(fmt::format("out_features must be at least 1, got {}", linear.out_features));
    check_size({linear.out_features, in[0]}, "the weight");
    return {linear.out_features};
  }

 private:
  const Shape& single() const {
    if (inputs_.size() != 1) throw Error(fmt::format("takes 1 input, got {}", inputs_.size()));
    return inputs_[0];
  }
  void several() const {
    if (inputs_.size() < 2)
      throw Error(fmt::format("takes 2 or more inputs, got {}", inputs_.size()));
  }
  const Shape& image() const {
    const Shape& in = single();
    if (in.size() != 3)
      throw Error(fmt::format("needs an input [C,H,W], got {}", core::to_string(in)));
    return in;
  }
  static void check_window(const Extent& kernel, const Extent& stride, const Padding& padding,
                           const Extent& dilation) {
    const auto at_least_1 = [](std::string_view what, const Extent& extent) {
      if (const int least = std::min(extent.h, extent.w); least < 1)
        throw Error(fmt::format("{} must be at least 1, got {}", what, least));
    };
    at_least_1("kernel", kernel);
    at_least_1("stride", stride);
    at_least_1("dilation", dilation);
    if (const int least = std::min({padding.top, padding.left, padding.bottom, padding.right});
        least < 0)
      throw Error(fmt::format("padding must not be negative, got {}", least));
  }
  /// Returns the number of windows along one side.
  /// @param size, before, after  the side, and the padding at its two ends
  static std::int64_t windows_along(std::int64_t size, std::int64_t before, std::int64_t after,
                                    std::int64_t extent, std::int64_t stride, bool rounded_up) {
    const std::int64_t room = size + before + after - extent;
    if (!rounded_up) return room / stride + 1;
    const std::int64_t count = (room + stride - 1) / stride + 1;
    // As in PyTorch, no window begins in the trailing padding.
    return (count - 1) * stride >= size + before ? count - 1 : count;
  }
  Shape windows(std::int64_t channels, const auto& op, const Extent& dilation,
                bool rounded_up) const {
    const Shape& in = image();
    const std::int64_t height = dilated(op.kernel.h, dilation.h),
                       width = dilated(op.kernel.w, dilation.w);
    const Padding& padding = op.padding;
    const std::int64_t room_h = in[1] + padding.top + padding.bottom,
                       room_w = in[2] + padding.left + padding.right;
    if (room_h < height || room_w < width) {
      const std::string kernel =
          height == width ? fmt::format("{}", height) : fmt::format("{}x{}", height, width);
      const std::string around = padding == Padding(padding.top)
                                     ? fmt::format("{}", padding.top)
                                     : fmt::format("{},{},{},{}", padding.top, padding.left,
                                                   padding.bottom, padding.right);
      throw Error(fmt::format("a kernel of {} does not fit into {} with padding {}", kernel,
                              core::to_string(in), around));
    }
    return {channels,
            windows_along(in[1], padding.top, padding.bottom, height, op.stride.h, rounded_up),
            windows_along(in[2], padding.left, padding.right, width, op.stride.w, rounded_up)};
  }
  Shape pooled(const auto& pool, const Extent& dilation) const {
    check_window(pool.kernel, pool.stride, pool.padding, dilation);
    // With more padding than half the kernel, or with elements further apart than the input's side,
    // a window could contain no element at all.
    const auto check_side = [&](int before, int after, int kernel, int apart, std::int64_t size) {
      if (const int most = std::max(before, after); most > kernel / 2)
        throw Error(fmt::format("padding {} is more than half of the kernel {}", most, kernel));
      if (kernel > 1 && apart > size)
        throw Error(fmt::format("dilation {} is more than the side of the input {}", apart,
                                core::to_string(image())));
    };
    const Padding& padding = pool.padding;
    check_side(padding.top, padding.bottom, pool.kernel.h, dilation.h, image()[1]);
    check_side(padding.left, padding.right, pool.kernel.w, dilation.w, image()[2]);
    return windows(image()[0], pool, dilation, pool.ceil_mode);
  }

  const std::vector<Shape>& inputs_;
};

void check_node_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
           c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 200 || !std::all_of(name.begin(), name.end(), allowed))
    throw Error("a node's name must be 1 to 200 letters, digits, '.', '_' or '-'");
  if (name == kInput) throw Error("the name is reserved for the network's input");
}

/// Checks a name that is shown on terminals and in reports: it may have no control characters.
void check_title(const std::string& title, std::string_view what) {
  if (title.size() > 400 || !core::is_printable(title))
    throw Error(
        fmt::format("the name of {} is longer than 400 bytes or holds control characters", what));
}

/// Checks a graph in execution order and keeps track of the tensors that are available at each
/// node.
class Inference {
 public:
  explicit Inference(const Graph& graph) : graph_(graph) {}

  Shapes run() {
    check_title(graph_.name, "the network");
    if (graph_.input.size() != 3)
      throw Error(fmt::format("the network's input must be [C,H,W], got {}",
                              core::to_string(graph_.input)));
    check_size(graph_.input, "the network's input");
    if (graph_.classes < 1 || graph_.classes > kMaxElements)
      throw Error(fmt::format("the network must have at least 1 class, got {}", graph_.classes));
    if (graph_.segments.empty()) throw Error("the network has no segments");

    shapes_.emplace(kInput, graph_.input);
    visible_ = {std::string(kInput)};
    for (std::size_t i = 0; i < graph_.segments.size(); ++i) {
      const Segment& segment = graph_.segments[i];
      check_title(segment.name, fmt::format("segment {}", i + 1));
      const std::string place = segment.name.empty() ? fmt::format("segment {}", i + 1)
                                                     : fmt::format("segment \"{}\"", segment.name);
      try {
        visit(segment, i + 1 == graph_.segments.size());
      } catch (const Error& error) {
        core::throw_with_place(place, error);
      }
    }
    return std::move(shapes_);
  }

 private:
  void visit(const Segment& segment, bool last) {
    for (const Node& node : segment.nodes) visit(node, visible_);
    if (!segment.feature.empty()) expect_visible(segment.feature, "the feature");
    if (!segment.head.empty()) {
      if (segment.feature.empty()) throw Error("has a head but no feature for it to read");
      std::set<std::string, std::less<>> in_head = {segment.feature};
      for (const Node& node : segment.head) visit(node, in_head);
      const Node& end = segment.head.back();
      const Shape& logits = shapes_.find(end.name)->second;
      if (logits != Shape{graph_.classes})
        throw Error(fmt::format(
            "node \"{}\": a head must end in one logit per class: got {}, expected [{}]", end.name,
            core::to_string(logits), graph_.classes));
    } else if (last) {
      throw Error("the last segment has no head");
    }

    if (segment.outputs.empty() && !last) throw Error("passes no tensor to the next segment");
    std::set<std::string, std::less<>> handed;
    for (const std::string& output : segment.outputs) {
      expect_visible(output, "the output");
      if (!handed.insert(output).second)
        throw Error(fmt::format("the output \"{}\" is listed twice", output));
    }
    visible_ = std::move(handed);
  }

  void visit(const Node& node, std::set<std::string, std::less<>>& visible) {
    try {
      check_node_name(node.name);
      if (shapes_.contains(node.name)) throw Error("the name is used twice");
      std::vector<Shape> inputs;
      for (const std::string& input : node.inputs) {
        if (!visible.contains(input)) throw_unknown(input);
        inputs.push_back(shapes_.find(input)->second);
      }
      shapes_.emplace(node.name, output_shape(node.op, inputs));
      visible.insert(node.name);
    } catch (const Error& error) {
      core::throw_with_place(fmt::format("node {}", core::quote(node.name)), error);
    }
  }

  [[noreturn]] void throw_unknown(const std::string& input) const {
    if (shapes_.contains(input))
      throw Error(fmt::format(
          "the input {} is not passed to this segment: it is not an output of the segment before",
          core::quote(input)));
    throw Error(fmt::format("unknown input {}", core::quote(input)));
  }

  void expect_visible(const std::string& name, std::string_view what) const {
    if (!visible_.contains(name))
      throw Error(fmt::format("{} {} is neither computed in this segment nor passed to it", what,
                              core::quote(name)));
  }

  const Graph& graph_;
  Shapes shapes_;
  std::set<std::string, std::less<>> visible_;
};

}  // namespace

Shape output_shape(const Op& op, const std::vector<Shape>& inputs) {
  Shape output = std::visit(OutputShape(inputs), op);
  check_size(output, "the output");
  return output;
}

Shapes infer_shapes(const Graph& graph) { return Inference(graph).run(); }

}  // namespace offramp::graph
