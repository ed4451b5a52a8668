#include "tests/support/random_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/random.h"
#include "graph/graph_builder.h"

namespace offramp {
namespace {

static_assert(std::variant_size_v<graph::Op> == 23,
              "draw the new operation in add_node or add_head, then count it here");

class RandomGraph {
 public:
  explicit RandomGraph(std::uint64_t seed)
      : random_(seed, 77), name_(fmt::format("random{}", seed)) {}

  graph::Graph build() {
    graph::Graph graph{
        name_, {pick({1, 2, 3, 5}), number(9, 20), number(9, 20)}, number(2, 11), {}};
    classes_ = graph.classes;
    known_ = {{std::string(graph::kInput), graph.input}};
    const std::int64_t segments = number(1, 4);
    for (std::int64_t i = 0; i < segments; ++i)
      graph.segments.push_back(segment(i, i + 1 == segments));
    return graph;
  }

 private:
  struct Tensor {
    std::string name;
    graph::Shape shape;
  };

  std::int64_t number(std::int64_t low, std::int64_t high) {
    return low +
           static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(high - low + 1)));
  }
  std::int64_t pick(const std::vector<std::int64_t>& values) {
    return values[random_.below(values.size())];
  }
  const Tensor& any() { return known_[random_.below(known_.size())]; }

  graph::Segment segment(std::int64_t index, bool last) {
    graph::Segment segment;
    segment.name = fmt::format("part{}", index);
    const std::int64_t count = number(3, 7);
    for (std::int64_t i = 0; i < count; ++i) add_node(segment.nodes);
    const Tensor feature = known_.back();
    segment.feature = feature.name;
    if (last || random_.flip()) add_head(segment.head, feature, fmt::format("exits.{}", index + 1));
    if (!last) {
      std::vector<Tensor> handed = {known_.back()};
      for (const Tensor& tensor : known_)
        if (handed.size() < 3 && tensor.name != handed[0].name && number(0, 3) == 0)
          handed.push_back(tensor);
      for (const Tensor& tensor : handed) segment.outputs.push_back(tensor.name);
      known_ = std::move(handed);
    }
    return segment;
  }

  Tensor appended(std::vector<graph::Node>& nodes, graph::Op op, std::vector<std::string> inputs,
                  graph::Shape shape) {
    return {append(nodes, fmt::format("n{}", next_++), std::move(op), std::move(inputs)),
            std::move(shape)};
  }

  void add_node(std::vector<graph::Node>& nodes) {
    // Operations mostly read the newest tensor, sometimes any: this gives chains with branches.
    const Tensor src = random_.below(3) == 0 ? any() : known_.back();
    switch (random_.below(13)) {
      case 0:
        return know(pooled(nodes, src));
      case 1:
        return know(joined(nodes, src));
      case 2:
        return know(appended(nodes, activation(), {src.name}, src.shape));
      case 3:
        return know(appended(nodes, graph::BatchNorm{}, {src.name}, src.shape));
      case 4:
        return know(rearranged(nodes, src));
      case 5:
        return know(excited(nodes, src));
      case 6:
        return know(appended(nodes, graph::LayerNorm{}, {src.name}, src.shape));
      default:
        return know(layer(nodes, src));
    }
  }
  void know(Tensor tensor) { known_.push_back(std::move(tensor)); }

  /// Returns an activation, half of the time relu.
  graph::Op activation() {
    if (random_.flip()) return graph::Relu{};
    switch (random_.below(9)) {
      case 0:
        return graph::Relu6{};
      case 1:
        return graph::Clip{-0.75, 1.5};
      case 2:
        return graph::Clip{.min = 0.25};
      case 3:
        return graph::Sigmoid{};
      case 4:
        return graph::HardSigmoid{0.2, 0.4};
      case 5:
        return graph::HardSwish{};
      case 6:
        return graph::Silu{};
      case 7:
        return graph::Gelu{};
      default:
        return graph::Gelu{.tanh = true};
    }
  }

  /// Returns the number of windows along a side that has room for at least one.
  static std::int64_t count_windows(std::int64_t size, int padding, std::int64_t kernel,
                                    int stride) {
    return (size + padding - kernel) / stride + 1;
  }
  /// The stride along a side: 2 at times if the side is long enough.
  int stride_along(std::int64_t size) { return size >= 6 ? static_cast<int>(pick({1, 1, 2})) : 1; }

  /// Appends a convolution and, at random, a batch norm, a sum and an activation.
  Tensor layer(std::vector<graph::Node>& nodes, const Tensor& src) {
    graph::Conv conv;
    conv.kernel = static_cast<int>(pick({1, 3, 3, 5}));
    conv.padding = conv.kernel.h / 2;
    const std::int64_t height = src.shape[1], width = src.shape[2];
    conv.stride = stride_along(std::min(height, width));
    if (random_.below(4) == 0) {  // everything differs between rows and columns
      conv.kernel = {static_cast<int>(number(1, 4)), static_cast<int>(number(1, 4))};
      conv.dilation = {static_cast<int>(number(1, 3)), static_cast<int>(number(1, 2))};
      const auto side = [&](int kernel, int dilation) {
        return static_cast<int>(number(0, graph::dilated(kernel, dilation) - 1));
      };
      conv.padding.top = side(conv.kernel.h, conv.dilation.h);
      conv.padding.left = side(conv.kernel.w, conv.dilation.w);
      conv.padding.bottom =
          static_cast<int>(graph::dilated(conv.kernel.h, conv.dilation.h)) - 1 - conv.padding.top;
      conv.padding.right =
          static_cast<int>(graph::dilated(conv.kernel.w, conv.dilation.w)) - 1 - conv.padding.left;
      conv.stride = {stride_along(height), stride_along(width)};
    }
    conv.bias = random_.flip();
    conv.out_channels = pick({3, 4, 8, 12, 16, 17, 32});
    if (random_.below(3) == 0) {
      conv.out_channels = src.shape[0];  // depthwise, or two groups
      conv.groups = static_cast<int>(src.shape[0] % 2 == 0 && random_.flip() ? 2 : src.shape[0]);
    }
    Tensor x =
        appended(nodes, conv, {src.name},
                 {conv.out_channels,
                  count_windows(height, conv.padding.top + conv.padding.bottom,
                                graph::dilated(conv.kernel.h, conv.dilation.h), conv.stride.h),
                  count_windows(width, conv.padding.left + conv.padding.right,
                                graph::dilated(conv.kernel.w, conv.dilation.w), conv.stride.w)});
    if (random_.flip()) x = appended(nodes, graph::BatchNorm{}, {x.name}, x.shape);
    for (const Tensor& other : known_)
      if (other.shape == x.shape && random_.flip()) {
        x = appended(nodes, graph::Add{}, {x.name, other.name}, x.shape);
        break;
      }
    if (random_.below(4) == 0) return x;
    return appended(nodes, activation(), {x.name}, x.shape);
  }

  /// Appends a pool: of 3 × 3, with other sides and padding, or to a grid.
  Tensor pooled(std::vector<graph::Node>& nodes, const Tensor& src) {
    const std::int64_t channels = src.shape[0], height = src.shape[1], width = src.shape[2];
    if (random_.below(5) == 0) {
      const graph::Extent grid(static_cast<int>(number(1, 7)), static_cast<int>(number(1, 7)));
      return appended(nodes, graph::AdaptiveAvgPool{grid}, {src.name}, {channels, grid.h, grid.w});
    }
    const int stride = std::min(height, width) >= 6 ? static_cast<int>(number(1, 2)) : 1;
    if (random_.flip()) {
      const graph::Op op = random_.flip() ? graph::Op(graph::MaxPool{3, stride, 1})
                                          : graph::Op(graph::AvgPool{3, stride, 1});
      return appended(
          nodes, op, {src.name},
          {channels, count_windows(height, 2, 3, stride), count_windows(width, 2, 3, stride)});
    }
    graph::AvgPool avg{{2, 3}, {stride, 1}, {1, 0, 0, 1}, random_.flip(), random_.flip()};
    if (width < 2) avg.kernel.w = avg.padding.right = 1;
    if (avg.kernel.w == 1) avg.padding.right = 0;
    std::int64_t rows = count_windows(height, 1, 2, avg.stride.h);
    // One more window fits if the size is rounded up and it begins before the end of the input.
    if (avg.ceil_mode && (height - 1) % avg.stride.h != 0) ++rows;
    const graph::Shape shape{channels, rows,
                             count_windows(width, avg.padding.right, avg.kernel.w, 1)};
    if (random_.flip()) return appended(nodes, avg, {src.name}, shape);
    return appended(nodes, graph::MaxPool{avg.kernel, avg.stride, avg.padding, 1, avg.ceil_mode},
                    {src.name}, shape);
  }

  /// Appends a slice of the channels or, if groups divide them, a shuffle.
  Tensor rearranged(std::vector<graph::Node>& nodes, const Tensor& src) {
    const std::int64_t channels = src.shape[0];
    for (const int groups : {4, 3, 2})
      if (channels % groups == 0 && random_.flip())
        return appended(nodes, graph::ChannelShuffle{groups}, {src.name}, src.shape);
    const std::int64_t begin =
        channels % 16 == 0 && random_.flip() ? channels / 2 : number(0, channels - 1);
    const std::int64_t end = number(begin + 1, channels);
    return appended(nodes, graph::Slice{begin, end}, {src.name},
                    {end - begin, src.shape[1], src.shape[2]});
  }

  /// Appends squeeze and excitation, or the product with a tensor of the same shape.
  Tensor excited(std::vector<graph::Node>& nodes, const Tensor& src) {
    if (random_.below(3) == 0) {
      const graph::Shape shape = src.shape;
      std::vector<std::string> factors;
      for (const Tensor& other : known_)
        if (other.shape == shape) factors.push_back(other.name);
      const Tensor gate =
          appended(nodes, graph::Sigmoid{}, {factors[random_.below(factors.size())]}, shape);
      return appended(nodes, graph::Multiply{}, {src.name, gate.name}, shape);
    }
    const std::int64_t channels = src.shape[0];
    Tensor x = appended(nodes, graph::GlobalAvgPool{}, {src.name}, {channels});
    x = appended(nodes, graph::Linear{.out_features = 5}, {x.name}, {5});
    x = appended(nodes, activation(), {x.name}, x.shape);
    x = appended(nodes, graph::Linear{.out_features = channels}, {x.name}, {channels});
    x = random_.flip() ? appended(nodes, graph::Sigmoid{}, {x.name}, x.shape)
                       : appended(nodes, graph::HardSigmoid{}, {x.name}, x.shape);
    return appended(nodes, graph::Multiply{}, {src.name, x.name}, src.shape);
  }

  /// Appends a concatenation or a sum with other tensors if the shapes allow it, else an
  /// activation.
  Tensor joined(std::vector<graph::Node>& nodes, const Tensor& src) {
    std::vector<std::string> same = {src.name}, beside = {src.name};
    std::int64_t channels = src.shape[0];
    for (const Tensor& other : known_) {
      if (other.name == src.name) continue;
      if (other.shape == src.shape && same.size() < 4) same.push_back(other.name);
      if (other.shape[1] == src.shape[1] && other.shape[2] == src.shape[2] && beside.size() < 3) {
        beside.push_back(other.name);
        channels += other.shape[0];
      }
    }
    if (same.size() > 1 && random_.flip()) return appended(nodes, graph::Add{}, same, src.shape);
    if (beside.size() > 1 && channels < 80)
      return appended(nodes, graph::Concat{}, beside, {channels, src.shape[1], src.shape[2]});
    return appended(nodes, activation(), {src.name}, src.shape);
  }

  void add_head(std::vector<graph::Node>& head, const Tensor& feature, const std::string& prefix) {
    std::string x = feature.name;
    switch (random_.below(4)) {
      case 0:
        x = append(head, prefix + ".pool", graph::GlobalAvgPool{}, {x});
        break;
      case 1:
        x = append(head, prefix + ".pool",
                   graph::SpatialPyramidPool{{1, static_cast<int>(number(2, 5))}}, {x});
        break;
      case 2:
        x = append(head, prefix + ".relu", graph::Relu{}, {x});
        x = append(head, prefix + ".pool", graph::SpatialPyramidPool{{3, 1, 4}}, {x});
        break;
      default:
        x = append(head, prefix + ".flat", graph::Flatten{}, {x});
        x = append(head, prefix + ".hidden",
                   graph::Linear{.out_features = 9, .bias = random_.flip()}, {x});
        if (random_.flip()) x = append(head, prefix + ".hidden.norm", graph::LayerNorm{}, {x});
        x = append(head, prefix + ".hidden.act", activation(), {x});
    }
    append(head, prefix + ".fc", graph::Linear{.out_features = classes_}, {x});
  }

  core::KeyedRandom random_;
  std::string name_;
  std::int64_t classes_ = 0;
  int next_ = 0;
  std::vector<Tensor> known_;
};

}  // namespace

graph::Graph random_graph(std::uint64_t seed) { return RandomGraph(seed).build(); }

}  // namespace offramp
