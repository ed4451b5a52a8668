#include "runtime/lower.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "core/bf16.h"
#include "core/error.h"
#include "core/overloaded.h"
#include "graph/fusion.h"

namespace offramp::runtime {
namespace {

/// A batch norm as y = scale[c] x + shift[c], computed in double before it is folded into weights.
struct Affine {
  std::vector<double> scale, shift;
};

Affine affine_of(const std::string& node, const graph::BatchNorm& norm,
                 const WeightSource& weights) {
  const auto gamma = weights(node + ".weight"), beta = weights(node + ".bias"),
             mean = weights(node + ".running_mean"), variance = weights(node + ".running_var");
  Affine affine;
  for (std::size_t c = 0; c < gamma.size(); ++c) {
    const double scale = gamma[c] / std::sqrt(static_cast<double>(variance[c]) + norm.eps);
    affine.scale.push_back(scale);
    affine.shift.push_back(beta[c] - mean[c] * scale);
  }
  return affine;
}

void fold(const Affine& affine, FusedConv& conv) {
  const std::size_t per_channel = conv.weights.size() / conv.bias.size();
  for (std::size_t c = 0; c < conv.bias.size(); ++c) {
    for (std::size_t i = 0; i < per_channel; ++i) {
      float& weight = conv.weights[c * per_channel + i];
      weight = static_cast<float>(weight * affine.scale[c]);
    }
    conv.bias[c] = static_cast<float>(conv.bias[c] * affine.scale[c] + affine.shift[c]);
  }
}

/// The activations of the operations that compute each element.
struct ActivationOf {
  using Kind = Activation::Kind;
  Activation operator()(const graph::Relu&) const { return kRelu; }
  Activation operator()(const graph::Relu6&) const { return kRelu6; }
  Activation operator()(const graph::Clip& clip) const {
    return clamp(static_cast<float>(clip.min), static_cast<float>(clip.max));
  }
  Activation operator()(const graph::Sigmoid&) const { return {Kind::sigmoid}; }
  Activation operator()(const graph::HardSigmoid& op) const {
    return {Kind::hard_sigmoid, static_cast<float>(op.alpha), static_cast<float>(op.beta)};
  }
  Activation operator()(const graph::HardSwish&) const { return {Kind::hard_swish}; }
  Activation operator()(const graph::Silu&) const { return {Kind::silu}; }
  Activation operator()(const graph::Gelu& gelu) const {
    return {gelu.tanh ? Kind::gelu_tanh : Kind::gelu};
  }
};

/// Returns the activation that an operation computes; nullopt if it is none.
std::optional<Activation> activation_of(const graph::Op& op) {
  switch (graph::fusion_of(op)) {
    case graph::Fusion::relu:
    case graph::Fusion::activation:
      break;
    case graph::Fusion::none:
    case graph::Fusion::batch_norm:
    case graph::Fusion::sum:
      return std::nullopt;
  }
  return std::visit(
      [](const auto& kind) -> std::optional<Activation> {
        if constexpr (graph::ActivationOp<std::decay_t<decltype(kind)>>)
          return ActivationOf{}(kind);
        else
          return std::nullopt;
      },
      op);
}

/// Lowers the nodes of a segment's body or head.
class Lowering {
 public:
  /// @param needed  names of the tensors that must exist afterwards, so that no fusion removes them
  Lowering(const std::vector<graph::Node>& nodes, const std::vector<std::string>& needed,
           const WeightSource& weights)
      : nodes_(nodes), needed_(needed.begin(), needed.end()), weights_(weights) {
    for (const graph::Node& node : nodes)
      for (const std::string& input : node.inputs) readers_[input].push_back(&node);
  }

  std::vector<LoweredOp> run() {
    // An operation takes the position of the last node that it stands for, where its residual has
    // been computed.
    std::map<const graph::Node*, LoweredOp> at;
    for (const graph::Node& node : nodes_)
      if (!absorbed_.contains(&node)) {
        auto [last, op] = lowered(node);
        at.emplace(last, std::move(op));
      }
    std::vector<LoweredOp> ops;
    for (const graph::Node& node : nodes_)
      if (const auto found = at.find(&node); found != at.end())
        ops.push_back(std::move(found->second));
    note_last_reads(ops);
    return ops;
  }

 private:
  /// Returns the node that may absorb a tensor because it is the tensor's only reader and the
  /// tensor itself is not needed; null if there is none.
  const graph::Node* only_reader(const std::string& tensor) const {
    const auto found = readers_.find(tensor);
    if (needed_.contains(tensor) || found == readers_.end() || found->second.size() != 1)
      return nullptr;
    return absorbed_.contains(found->second.front()) ? nullptr : found->second.front();
  }

  const graph::Node* absorb_batch_norm(const graph::Node*& last) {
    const graph::Node* next = only_reader(last->name);
    if (next == nullptr || graph::fusion_of(next->op) != graph::Fusion::batch_norm) return nullptr;
    absorbed_.insert(next);
    return last = next;
  }

  Activation absorb_activation(const graph::Node*& last) {
    const graph::Node* next = only_reader(last->name);
    if (next == nullptr) return kNoActivation;
    const std::optional<Activation> activation = activation_of(next->op);
    if (!activation) return kNoActivation;
    absorbed_.insert(next);
    last = next;
    return *activation;
  }

  /// If the next node adds the convolution's result and another tensor, makes the other tensor the
  /// convolution's residual.
  void absorb_residual(const graph::Node*& last, FusedConv& conv) {
    const graph::Node* next = only_reader(last->name);
    if (next == nullptr || graph::fusion_of(next->op) != graph::Fusion::sum ||
        next->inputs.size() != 2 || next->inputs[0] == next->inputs[1])
      return;
    conv.residual = next->inputs[0] == last->name ? next->inputs[1] : next->inputs[0];
    absorbed_.insert(next);
    last = next;
  }

  std::pair<const graph::Node*, LoweredOp> lowered(const graph::Node& node) {
    const graph::Node* last = &node;
    LoweredKind kind = kind_of(node, last);
    return {last, {last->name, std::move(kind), node.inputs, {}}};
  }

  LoweredKind kind_of(const graph::Node& node, const graph::Node*& last) {
    return std::visit(
        core::overloaded{
            [&](const graph::Conv& conv) -> LoweredKind { return fused(node, conv, last); },
            [&](const graph::Linear& linear) -> LoweredKind { return fused(node, linear, last); },
            [&](const graph::BatchNorm& norm) -> LoweredKind { return scaled(node, norm, last); },
            [&](const graph::Add&) -> LoweredKind { return FusedAdd{absorb_activation(last)}; },
            [&](const graph::LayerNorm& norm) -> LoweredKind {
              return FusedLayerNorm{weights_(node.name + ".weight"), weights_(node.name + ".bias"),
                                    static_cast<float>(norm.eps)};
            },
            [](const graph::ActivationOp auto& op) -> LoweredKind {
              return Activate{ActivationOf{}(op)};
            },
            [](const core::OneOf<graph::Multiply, graph::Concat, graph::Slice,
                                 graph::ChannelShuffle, graph::MaxPool, graph::AvgPool,
                                 graph::AdaptiveAvgPool, graph::GlobalAvgPool,
                                 graph::SpatialPyramidPool, graph::Flatten> auto& as_it_is)
                -> LoweredKind { return as_it_is; },
        },
        node.op);
  }

  FusedConv fused(const graph::Node& node, const graph::Conv& conv, const graph::Node*& last) {
    FusedConv result{conv, weights_(node.name + ".weight"), {}, {}, {}};
    result.bias.assign(static_cast<std::size_t>(conv.out_channels), 0.0f);
    if (conv.bias) result.bias = weights_(node.name + ".bias");
    if (const graph::Node* norm = absorb_batch_norm(last))
      fold(affine_of(norm->name, std::get<graph::BatchNorm>(norm->op), weights_), result);
    absorb_residual(last, result);
    result.activation = absorb_activation(last);
    return result;
  }

  FusedLinear fused(const graph::Node& node, const graph::Linear& linear,
                    const graph::Node*& last) {
    FusedLinear result{linear.out_features, nullptr, {}, {}};
    std::vector<float> weights = weights_(node.name + ".weight");
    const auto in_bf16 = [](float value) {
      return std::bit_cast<std::uint32_t>(value) % (1u << 16) == 0;
    };
    if (std::ranges::all_of(weights, in_bf16)) {
      std::vector<std::uint16_t> halves(weights.size());
      std::ranges::transform(weights, halves.begin(), core::to_bf16);
      result.bf16_weights = std::make_shared<const std::vector<std::uint16_t>>(std::move(halves));
    } else {
      result.weights = std::make_shared<const std::vector<float>>(std::move(weights));
    }
    result.bias.assign(static_cast<std::size_t>(linear.out_features), 0.0f);
    if (linear.bias) result.bias = weights_(node.name + ".bias");
    result.activation = absorb_activation(last);
    return result;
  }

  Scale scaled(const graph::Node& node, const graph::BatchNorm& norm, const graph::Node*& last) {
    const Affine affine = affine_of(node.name, norm, weights_);
    Scale result{
        {affine.scale.begin(), affine.scale.end()}, {affine.shift.begin(), affine.shift.end()}, {}};
    result.activation = absorb_activation(last);
    return result;
  }

  void note_last_reads(std::vector<LoweredOp>& ops) const {
    std::set<std::string> read_later(needed_.begin(), needed_.end());
    for (auto op = ops.rbegin(); op != ops.rend(); ++op) {
      std::vector<std::string> reads = op->inputs;
      if (const FusedConv* conv = as_convolution(op->kind); conv && !conv->residual.empty())
        reads.push_back(conv->residual);
      for (const std::string& tensor : reads)
        if (read_later.insert(tensor).second) op->last_reads.push_back(tensor);
    }
  }

  const std::vector<graph::Node>& nodes_;
  std::set<std::string> needed_;
  const WeightSource& weights_;
  std::map<std::string, std::vector<const graph::Node*>> readers_;
  std::set<const graph::Node*> absorbed_;
};

}  // namespace

std::string to_string(const Activation& activation) {
  switch (activation.kind) {
    case Activation::Kind::clamp:
      if (activation.is_none()) return "none";
      if (activation == kRelu) return "relu";
      if (activation == kRelu6) return "relu6";
      return fmt::format("clip {} to {}", activation.a, activation.b);
    case Activation::Kind::sigmoid:
      return "sigmoid";
    case Activation::Kind::hard_sigmoid:
      return "hard_sigmoid";
    case Activation::Kind::hard_swish:
      return "hard_swish";
    case Activation::Kind::silu:
      return "silu";
    case Activation::Kind::gelu:
      return "gelu";
    case Activation::Kind::gelu_tanh:
      return "gelu, tanh";
  }
  return "";
}

const FusedConv* as_convolution(const LoweredKind& kind) {
  return std::visit(
      core::overloaded{
          [](const FusedConv& conv) -> const FusedConv* { return &conv; },
          [](const core::OneOf<FusedLinear, Scale, FusedLayerNorm, FusedAdd, Activate,
                               graph::Multiply, graph::Concat, graph::Slice, graph::ChannelShuffle,
                               graph::MaxPool, graph::AvgPool, graph::AdaptiveAvgPool,
                               graph::GlobalAvgPool, graph::SpatialPyramidPool,
                               graph::Flatten> auto&) -> const FusedConv* { return nullptr; },
      },
      kind);
}

WeightSource source_of(const core::Tensors& weights) {
  return [&weights](const std::string& name) {
    const auto found = weights.find(name);
    if (found == weights.end()) throw Error(fmt::format("tensor \"{}\" is missing", name));
    return found->second.to_f32();
  };
}

std::vector<LoweredSegment> lower(const graph::Graph& graph, const WeightSource& weights) {
  std::vector<LoweredSegment> result;
  std::vector<std::string> given = {std::string(graph::kInput)};
  for (const graph::Segment& segment : graph.segments) {
    LoweredSegment lowered;
    lowered.inputs = given;
    lowered.outputs = segment.outputs;
    lowered.feature = segment.feature;
    std::vector<std::string> needed = segment.outputs;
    if (!segment.head.empty()) needed.push_back(segment.feature);
    lowered.body = Lowering(segment.nodes, needed, weights).run();
    if (!segment.head.empty())
      lowered.head = Lowering(segment.head, {segment.head.back().name}, weights).run();
    given = segment.outputs;
    result.push_back(std::move(lowered));
  }
  return result;
}

}  // namespace offramp::runtime
