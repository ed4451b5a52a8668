#include "runtime/lower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/overloaded.h"
#include "core/random.h"
#include "graph/random_weights.h"
#include "tests/support/graphs.h"
#include "tests/support/random_graph.h"
#include "tests/support/reference.h"

namespace offramp::runtime {
namespace {

using testing::ElementsAre;
using testing::ThrowsMessage;

/// Converts lowered operations back to graph nodes, so that the reference can execute them.
class Raising {
 public:
  graph::Graph graph;
  core::Tensors weights;

  Raising(const graph::Graph& original, const std::vector<LoweredSegment>& lowered)
      : graph(original) {
    for (std::size_t i = 0; i < lowered.size(); ++i) {
      graph::Segment& segment = graph.segments[i];
      segment.nodes = raised(lowered[i].body);
      segment.head = raised(lowered[i].head);
    }
  }

 private:
  std::vector<graph::Node> raised(const std::vector<LoweredOp>& ops) {
    std::vector<graph::Node> nodes;
    for (const LoweredOp& op : ops) {
      const auto parts = std::visit([&](const auto& kind) { return parts_of(op, kind); }, op.kind);
      nodes.insert(nodes.end(), parts.begin(), parts.end());
      nodes.back().name = op.output;
      rename_weights(parts.back().name, op.output);
    }
    return nodes;
  }

  void keep(const std::string& name, std::vector<std::int64_t> shape, std::vector<float> values) {
    weights[name] = core::HostTensor::of(std::move(shape), std::span<const float>(values));
  }
  void rename_weights(const std::string& from, const std::string& to) {
    for (const char* suffix : {".weight", ".bias", ".running_mean", ".running_var"})
      if (auto node = weights.extract(from + suffix)) {
        node.key() = to + suffix;
        weights.insert(std::move(node));
      }
  }

  static graph::Op op_of(const Activation& activation) {
    using Kind = Activation::Kind;
    switch (activation.kind) {
      case Kind::clamp:
        if (activation == kRelu) return graph::Relu{};
        if (activation == kRelu6) return graph::Relu6{};
        return graph::Clip{activation.a, activation.b};
      case Kind::sigmoid:
        return graph::Sigmoid{};
      case Kind::hard_sigmoid:
        return graph::HardSigmoid{activation.a, activation.b};
      case Kind::hard_swish:
        return graph::HardSwish{};
      case Kind::silu:
        return graph::Silu{};
      case Kind::gelu:
      case Kind::gelu_tanh:
        break;
    }
    return graph::Gelu{activation.kind == Kind::gelu_tanh};
  }
  void activate(std::vector<graph::Node>& nodes, const Activation& activation,
                const std::string& name) {
    if (activation.is_none()) return;
    nodes.push_back({name + "-act", op_of(activation), {nodes.back().name}});
  }

  std::vector<graph::Node> parts_of(const LoweredOp& op, const FusedConv& fused) {
    graph::Conv conv = fused.conv;
    conv.bias = true;
    const std::string name = op.output + "-conv";
    const auto out = conv.out_channels;
    const auto per_group =
        static_cast<std::int64_t>(fused.weights.size()) / (out * conv.kernel.h * conv.kernel.w);
    keep(name + ".weight", {out, per_group, conv.kernel.h, conv.kernel.w}, fused.weights);
    keep(name + ".bias", {out}, fused.bias);
    std::vector<graph::Node> nodes = {{name, conv, op.inputs}};
    if (!fused.residual.empty())
      nodes.push_back({op.output + "-add", graph::Add{}, {name, fused.residual}});
    activate(nodes, fused.activation, op.output);
    return nodes;
  }
  std::vector<graph::Node> parts_of(const LoweredOp& op, const FusedLinear& fused) {
    const std::string name = op.output + "-fc";
    const auto in = static_cast<std::int64_t>(fused.weights->size()) / fused.out_features;
    keep(name + ".weight", {fused.out_features, in}, *fused.weights);
    keep(name + ".bias", {fused.out_features}, fused.bias);
    std::vector<graph::Node> nodes = {{name, graph::Linear{fused.out_features, true}, op.inputs}};
    activate(nodes, fused.activation, op.output);
    return nodes;
  }
  std::vector<graph::Node> parts_of(const LoweredOp& op, const Scale& scale) {
    const std::string name = op.output + "-norm";
    const auto channels = static_cast<std::int64_t>(scale.scale.size());
    keep(name + ".weight", {channels}, scale.scale);
    keep(name + ".bias", {channels}, scale.shift);
    keep(name + ".running_mean", {channels}, std::vector<float>(scale.scale.size(), 0.0f));
    keep(name + ".running_var", {channels}, std::vector<float>(scale.scale.size(), 1.0f));
    std::vector<graph::Node> nodes = {{name, graph::BatchNorm{.eps = 1e-30}, op.inputs}};
    activate(nodes, scale.activation, op.output);
    return nodes;
  }
  std::vector<graph::Node> parts_of(const LoweredOp& op, const FusedAdd& add) {
    std::vector<graph::Node> nodes = {{op.output + "-add", graph::Add{}, op.inputs}};
    activate(nodes, add.activation, op.output);
    return nodes;
  }
  std::vector<graph::Node> parts_of(const LoweredOp& op, const Activate& activate) {
    return {{op.output + "-act", op_of(activate.activation), op.inputs}};
  }
  std::vector<graph::Node> parts_of(const LoweredOp& op, const FusedLayerNorm& norm) {
    const std::string name = op.output + "-norm";
    const auto channels = static_cast<std::int64_t>(norm.weight.size());
    keep(name + ".weight", {channels}, norm.weight);
    keep(name + ".bias", {channels}, norm.bias);
    return {{name, graph::LayerNorm{norm.eps}, op.inputs}};
  }
  std::vector<graph::Node> parts_of(
      const LoweredOp& op,
      const core::OneOf<graph::Multiply, graph::Concat, graph::Slice, graph::ChannelShuffle,
                        graph::MaxPool, graph::AvgPool, graph::AdaptiveAvgPool,
                        graph::GlobalAvgPool, graph::SpatialPyramidPool, graph::Flatten> auto&
          plain) {
    return {{op.output + "-op", plain, op.inputs}};
  }
};

template <typename Kind>
int count(const std::vector<LoweredSegment>& segments) {
  int found = 0;
  for (const LoweredSegment& segment : segments)
    for (const auto* ops : {&segment.body, &segment.head})
      for (const LoweredOp& op : *ops) found += std::holds_alternative<Kind>(op.kind);
  return found;
}

TEST(Lower, ComputesWhatTheGraphComputes) {
  std::vector<graph::Graph> graphs = example_graphs();
  for (std::uint64_t seed = 0; seed < 20; ++seed) graphs.push_back(random_graph(seed));
  for (const graph::Graph& graph : graphs) {
    SCOPED_TRACE(graph.name);
    const core::Tensors weights = graph::random_weights(graph, 5);
    Raising raised(graph, lower(graph, source_of(weights)));
    std::vector<float> image(
        static_cast<std::size_t>(graph.input[0] * graph.input[1] * graph.input[2]));
    core::KeyedRandom random(7, 1);
    for (float& value : image) value = random.uniform(-2, 2);
    ReferencePredictor expected(graph, weights), actual(raised.graph, raised.weights);
    const auto a = expected.predict_all(image), b = actual.predict_all(image);
    ASSERT_EQ(a.size(), b.size());
    float largest = 0, difference = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      largest = std::max(largest, std::abs(a[i]));
      difference = std::max(difference, std::abs(a[i] - b[i]));
    }
    // Folded weights are rounded to f32 once: the error is depth (about 20) x 2^-24 x a few.
    EXPECT_LT(difference, 1e-5f * largest);
  }
}

TEST(Lower, LeavesNothingOfAResNetBesideConvolutions) {
  const graph::Graph graph = small_resnet();
  const auto lowered = lower(graph, source_of(graph::random_weights(graph, 1)));
  EXPECT_EQ(count<FusedConv>(lowered), 20);  // stem, 16 of the blocks, 3 projections
  EXPECT_EQ(count<Scale>(lowered) + count<FusedAdd>(lowered) + count<Activate>(lowered), 0);
  for (const LoweredSegment& segment : lowered)
    for (const LoweredOp& op : segment.body) {
      const auto& conv = std::get<FusedConv>(op.kind);
      if (conv.residual.empty()) continue;
      // The sum may overwrite the shortcut.
      EXPECT_THAT(op.last_reads, testing::Contains(conv.residual)) << op.output;
    }
}

TEST(Lower, NamesTheWeightThatIsMissing) {
  const graph::Graph graph = small_resnet();
  core::Tensors weights = graph::random_weights(graph, 1);
  weights.erase("bn1.running_var");
  EXPECT_THAT([&] { lower(graph, source_of(weights)); },
              ThrowsMessage<Error>("tensor \"bn1.running_var\" is missing"));
}

}  // namespace
}  // namespace offramp::runtime
