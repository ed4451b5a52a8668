#include "runtime/lower.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/overloaded.h"
#include "graph/fusion.h"

namespace offramp {
namespace {

/// A batch norm as y = scale[c] x + shift[c], computed in double before it is folded into weights.
struct Affine {
  std::vector<double> scale, shift;
};

Affine affine_of(const std::string& node, const BatchNorm& norm, const WeightSource& weights) {
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

Activation activation_of(Fusion fusion) {
  switch (fusion) {
    case Fusion::relu:
      return Activation::relu;
    case Fusion::relu6:
      return Activation::relu6;
    case Fusion::none:
    case Fusion::batch_norm:
    case Fusion::sum:
      break;
  }
  return Activation::none;
}

/// Lowers the nodes of a segment's body or head.
class Lowering {
 public:
  /// @param kept  names of the tensors that must exist afterwards, so that no fusion removes them
  Lowering(const std::vector<Node>& nodes, const std::vector<std::string>& needed,
           const WeightSource& weights)
      : nodes_(nodes), needed_(needed.begin(), needed.end()), weights_(weights) {
    for (const Node& node : nodes)
      for (const std::string& input : node.inputs) readers_[input].push_back(&node);
  }

  std::vector<LoweredOp> run() {
    // An operation takes the position of the last node that it stands for, where its residual has
    // been computed.
    std::map<const Node*, LoweredOp> at;
    for (const Node& node : nodes_)
      if (!absorbed_.contains(&node)) {
        auto [last, op] = lowered(node);
        at.emplace(last, std::move(op));
      }
    std::vector<LoweredOp> ops;
    for (const Node& node : nodes_)
      if (const auto found = at.find(&node); found != at.end())
        ops.push_back(std::move(found->second));
    note_last_reads(ops);
    return ops;
  }

 private:
  /// Returns the node that may absorb a tensor because it is the tensor's only reader and the
  /// tensor itself is not needed; null if there is none.
  const Node* only_reader(const std::string& tensor) const {
    const auto found = readers_.find(tensor);
    if (needed_.contains(tensor) || found == readers_.end() || found->second.size() != 1)
      return nullptr;
    return absorbed_.contains(found->second.front()) ? nullptr : found->second.front();
  }

  const Node* absorb_batch_norm(const Node*& last) {
    const Node* next = only_reader(last->name);
    if (next == nullptr || fusion_of(next->op) != Fusion::batch_norm) return nullptr;
    absorbed_.insert(next);
    return last = next;
  }

  Activation absorb_activation(const Node*& last) {
    const Node* next = only_reader(last->name);
    if (next == nullptr) return Activation::none;
    const Activation activation = activation_of(fusion_of(next->op));
    if (activation == Activation::none) return Activation::none;
    absorbed_.insert(next);
    last = next;
    return activation;
  }

  /// If the next node adds the convolution's result and another tensor, makes the other tensor the
  /// convolution's residual.
  void absorb_residual(const Node*& last, FusedConv& conv) {
    const Node* next = only_reader(last->name);
    if (next == nullptr || fusion_of(next->op) != Fusion::sum || next->inputs.size() != 2 ||
        next->inputs[0] == next->inputs[1])
      return;
    conv.residual = next->inputs[0] == last->name ? next->inputs[1] : next->inputs[0];
    absorbed_.insert(next);
    last = next;
  }

  std::pair<const Node*, LoweredOp> lowered(const Node& node) {
    const Node* last = &node;
    LoweredKind kind = kind_of(node, last);
    return {last, {last->name, std::move(kind), node.inputs, {}}};
  }

  LoweredKind kind_of(const Node& node, const Node*& last) {
    return std::visit(
        overloaded{
            [&](const Conv& conv) -> LoweredKind { return fused(node, conv, last); },
            [&](const Linear& linear) -> LoweredKind { return fused(node, linear, last); },
            [&](const BatchNorm& norm) -> LoweredKind { return scaled(node, norm, last); },
            [&](const Add&) -> LoweredKind { return FusedAdd{absorb_activation(last)}; },
            [](const Relu&) -> LoweredKind { return Activate{Activation::relu}; },
            [](const Relu6&) -> LoweredKind { return Activate{Activation::relu6}; },
            [](const OneOf<Concat, MaxPool, AvgPool, GlobalAvgPool, SpatialPyramidPool,
                           Flatten> auto& as_it_is) -> LoweredKind { return as_it_is; },
        },
        node.op);
  }

  FusedConv fused(const Node& node, const Conv& conv, const Node*& last) {
    FusedConv result{conv, weights_(node.name + ".weight"), {}, {}, {}};
    result.bias.assign(static_cast<std::size_t>(conv.out_channels), 0.0f);
    if (conv.bias) result.bias = weights_(node.name + ".bias");
    if (const Node* norm = absorb_batch_norm(last))
      fold(affine_of(norm->name, std::get<BatchNorm>(norm->op), weights_), result);
    absorb_residual(last, result);
    result.activation = absorb_activation(last);
    return result;
  }

  FusedLinear fused(const Node& node, const Linear& linear, const Node*& last) {
    FusedLinear result{linear.out_features,
                       std::make_shared<const std::vector<float>>(weights_(node.name + ".weight")),
                       {},
                       {}};
    result.bias.assign(static_cast<std::size_t>(linear.out_features), 0.0f);
    if (linear.bias) result.bias = weights_(node.name + ".bias");
    result.activation = absorb_activation(last);
    return result;
  }

  Scale scaled(const Node& node, const BatchNorm& norm, const Node*& last) {
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

  const std::vector<Node>& nodes_;
  std::set<std::string> needed_;
  const WeightSource& weights_;
  std::map<std::string, std::vector<const Node*>> readers_;
  std::set<const Node*> absorbed_;
};

}  // namespace

const FusedConv* as_convolution(const LoweredKind& kind) {
  return std::visit(
      overloaded{
          [](const FusedConv& conv) -> const FusedConv* { return &conv; },
          [](const OneOf<FusedLinear, Scale, FusedAdd, Activate, Concat, MaxPool, AvgPool,
                         GlobalAvgPool, SpatialPyramidPool, Flatten> auto&) -> const FusedConv* {
            return nullptr;
          },
      },
      kind);
}

WeightSource source_of(const Tensors& weights) {
  return [&weights](const std::string& name) {
    const auto found = weights.find(name);
    if (found == weights.end()) throw Error("tensor \"{}\" is missing", name);
    return found->second.to_f32();
  };
}

std::vector<LoweredSegment> lower(const Graph& graph, const WeightSource& weights) {
  std::vector<LoweredSegment> result;
  std::vector<std::string> given = {std::string(kInput)};
  for (const Segment& segment : graph.segments) {
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

}  // namespace offramp
