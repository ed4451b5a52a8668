#include "tests/support/random_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/random.h"
#include "graph/graph_builder.h"

namespace offramp {
namespace {

static_assert(std::variant_size_v<graph::Op> == 12,
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
    switch (random_.below(8)) {
      case 0:
        return know(pooled(nodes, src));
      case 1:
        return know(joined(nodes, src));
      case 2:
        return know(appended(nodes, graph::Relu{}, {src.name}, src.shape));
      case 3:
        return know(appended(nodes, graph::BatchNorm{}, {src.name}, src.shape));
      default:
        return know(layer(nodes, src));
    }
  }
  void know(Tensor tensor) { known_.push_back(std::move(tensor)); }

  /// Appends a convolution and, at random, a batch norm, a sum and an activation.
  Tensor layer(std::vector<graph::Node>& nodes, const Tensor& src) {
    graph::Conv conv;
    conv.kernel = static_cast<int>(pick({1, 3, 3, 5}));
    conv.padding = conv.kernel / 2;
    conv.stride = std::min(src.shape[1], src.shape[2]) >= 6 ? static_cast<int>(pick({1, 1, 2})) : 1;
    conv.bias = random_.flip();
    conv.out_channels = pick({3, 4, 8, 12, 16, 17, 32});
    if (random_.below(3) == 0) {
      conv.out_channels = src.shape[0];  // depthwise, or two groups
      conv.groups = static_cast<int>(src.shape[0] % 2 == 0 && random_.flip() ? 2 : src.shape[0]);
    }
    const auto size = [&](std::int64_t in) {
      return (in + 2 * conv.padding - conv.kernel) / conv.stride + 1;
    };
    Tensor x = appended(nodes, conv, {src.name},
                        {conv.out_channels, size(src.shape[1]), size(src.shape[2])});
    if (random_.flip()) x = appended(nodes, graph::BatchNorm{}, {x.name}, x.shape);
    for (const Tensor& other : known_)
      if (other.shape == x.shape && random_.flip()) {
        x = appended(nodes, graph::Add{}, {x.name, other.name}, x.shape);
        break;
      }
    switch (random_.below(4)) {
      case 0:
        return appended(nodes, graph::Relu6{}, {x.name}, x.shape);
      case 1:
        return x;
      default:
        return appended(nodes, graph::Relu{}, {x.name}, x.shape);
    }
  }

  Tensor pooled(std::vector<graph::Node>& nodes, const Tensor& src) {
    const int stride =
        std::min(src.shape[1], src.shape[2]) >= 6 ? static_cast<int>(number(1, 2)) : 1;
    const auto size = [&](std::int64_t in) { return (in + 2 - 3) / stride + 1; };
    const graph::Op op = random_.flip() ? graph::Op(graph::MaxPool{3, stride, 1})
                                        : graph::Op(graph::AvgPool{3, stride, 1});
    return appended(nodes, op, {src.name}, {src.shape[0], size(src.shape[1]), size(src.shape[2])});
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
    return appended(nodes, graph::Relu{}, {src.name}, src.shape);
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
        x = append(head, prefix + ".hidden.relu", graph::Relu{}, {x});
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
