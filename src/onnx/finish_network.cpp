#include "onnx/finish_network.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "core/error.h"
#include "core/overloaded.h"
#include "onnx/vector_of.h"

namespace offramp::onnx {
namespace {

using Values = std::vector<float>;

/// Repeats the one value of a scalar for all channels.
Values expanded(const Values& values, std::int64_t channels) {
  return values.size() == 1 ? Values(static_cast<std::size_t>(channels), values[0]) : values;
}

// Names of nodes.

bool is_valid_name(std::string_view name) {
  return !name.empty() && name.size() <= 150 && name != graph::kInput &&
         !name.starts_with("exits.") && std::ranges::all_of(name, [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
         });
}

/// Makes a PyTorch name of the name of an ONNX node: "/layer1/layer1.0/conv1/Conv" is the module
/// layer1.0.conv1. Characters that no name may have become '_'.
std::string module_name(std::string_view node) {
  std::vector<std::string> parts;
  std::string part;
  const auto take = [&] {
    if (part.empty()) return;
    // PyTorch repeats the name of the outer module in that of the inner one.
    if (!parts.empty() && part.starts_with(parts.back() + "."))
      parts.back() = part;
    else
      parts.push_back(part);
    part.clear();
  };
  for (const char c : node) {
    if (c == '/')
      take();
    else
      part += std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' ? c : '_';
  }
  take();
  // The last part is the operator: Conv, Relu_1.
  if (parts.size() > 1) parts.pop_back();
  return fmt::format("{}", fmt::join(parts, "."));
}

class Names {
 public:
  std::string of(const Draft& draft) {
    std::string name;
    for (const std::string_view ending : {".weight", "_weight"})
      if (draft.weight_name.ends_with(ending) && name.empty())
        name = draft.weight_name.substr(0, draft.weight_name.size() - ending.size());
    if (!is_valid_name(name)) name = module_name(draft.node_name);
    if (!is_valid_name(name)) name = module_name(draft.weight_name);
    if (!is_valid_name(name))
      name = fmt::format("{}.{}", graph::op_name(std::get<graph::Op>(draft.op)), used_.size());
    std::string unique = name;
    for (int i = 2; !used_.insert(unique).second; ++i) unique = fmt::format("{}_{}", name, i);
    return unique;
  }

 private:
  std::set<std::string> used_;
};

class Finisher {
 public:
  Finisher(NetworkDraft& network, int output, std::vector<NodeProblem>& problems)
      : network_(network), output_(output), problems_(problems) {}

  FinishedNetwork run(std::string name) {
    FinishedNetwork result;
    find_live();
    take_input_affine(result);
    for (int i = 1; i < network_.size(); ++i)
      if (live_[at(i)] && network_.as<Affine>(i) != nullptr) resolve_affine(i);
    find_live();
    for (int i = 1; i < network_.size(); ++i)
      if (live_[at(i)] && !std::holds_alternative<graph::Op>(network_[i].op)) report(i);
    result.graph.name = std::move(name);
    result.graph.input = network_.shape(0);
    result.graph.classes = network_.shape(output_)[0];
    if (problems_.empty()) result.graph.segments.push_back(make_segment(result));
    return result;
  }

 private:
  static std::size_t at(int index) { return static_cast<std::size_t>(index); }

  /// Marks what the output needs, and counts the readers of each draft.
  void find_live() {
    live_.assign(at(network_.size()), false);
    readers_.assign(at(network_.size()), 0);
    live_[at(output_)] = true;
    readers_[at(output_)] = 1;
    for (int i = output_; i > 0; --i) {
      if (!live_[at(i)]) continue;
      for (const int input : network_[i].inputs) {
        live_[at(input)] = true;
        ++readers_[at(input)];
      }
    }
  }

  /// Makes all readers of a draft read another one.
  void replace(int from, int to) {
    for (int i = from + 1; i < network_.size(); ++i)
      for (int& input : network_.at(i).inputs)
        if (input == from) input = to;
    if (output_ == from) output_ = to;
    live_[at(from)] = false;
    readers_[at(to)] += readers_[at(from)] - 1;
  }

  /// A normalisation of the image that stands before everything else becomes preprocessing.
  void take_input_affine(FinishedNetwork& result) {
    if (readers_[0] != 1) return;
    for (int i = 1; i < network_.size(); ++i) {
      const auto* affine = network_.as<Affine>(i);
      if (!live_[at(i)] || affine == nullptr || network_[i].inputs[0] != 0 || i == output_)
        continue;
      const Values scale = expanded(affine->scale, network_.shape(0)[0]);
      const Values shift = expanded(affine->shift, network_.shape(0)[0]);
      if (std::ranges::any_of(scale, [](float value) { return !(value > 0); })) return;
      result.input_scale = scale;
      result.input_shift = shift;
      network_.at(0).range = network_[i].range;
      return replace(i, 0);
    }
  }

  void resolve_affine(int index) {
    const Affine affine = *network_.as<Affine>(index);
    const int input = network_[index].inputs[0];
    const std::int64_t channels = network_.shape(index)[0];
    const Values scale = expanded(affine.scale, channels), shift = expanded(affine.shift, channels);
    if (input > 0 && readers_[at(input)] == 1 && merge_into(network_.at(input), scale, shift)) {
      network_.at(input).range = network_[index].range;
      return replace(index, input);
    }
    Draft& draft = network_.at(index);
    if (draft.shape.size() == 3) {
      // (x - 0) / √(1 - eps + eps) scale + shift
      const graph::BatchNorm norm;
      draft.op = graph::Op(norm);
      draft.parameters.emplace("weight", vector_of(scale));
      draft.parameters.emplace("bias", vector_of(shift));
      draft.parameters.emplace("running_mean", vector_of(Values(scale.size(), 0.0f)));
      draft.parameters.emplace("running_var",
                               vector_of(Values(scale.size(), static_cast<float>(1 - norm.eps))));
      return;
    }
    for (int i = index + 1; i < network_.size() && readers_[at(index)] == 1; ++i)
      if (live_[at(i)] && network_[i].inputs == std::vector<int>{index} &&
          network_.as<graph::Linear>(i) != nullptr) {
        merge_before(network_.at(i), scale, shift);
        return replace(index, input);
      }
    make_diagonal(draft, scale, shift);
  }

  /// Multiplies and shifts the output of a layer by changing its parameters.
  static bool merge_into(Draft& layer, const Values& scale, const Values& shift) {
    auto* op = std::get_if<graph::Op>(&layer.op);
    if (op == nullptr) return false;
    bool* has_bias = nullptr;
    if (auto* linear = std::get_if<graph::Linear>(op)) has_bias = &linear->bias;
    if (auto* conv = std::get_if<graph::Conv>(op)) has_bias = &conv->bias;
    if (has_bias == nullptr && !std::holds_alternative<graph::LayerNorm>(*op) &&
        !std::holds_alternative<graph::BatchNorm>(*op))
      return false;
    const auto weight = layer.parameters.find("weight")->second.as<float>();
    const std::size_t columns = weight.size() / scale.size();
    for (std::size_t i = 0; i < weight.size(); ++i) weight[i] *= scale[i / columns];
    if (has_bias != nullptr && !*has_bias) {
      *has_bias = true;
      layer.parameters.emplace("bias", vector_of(shift));
      return true;
    }
    const auto bias = layer.parameters.find("bias")->second.as<float>();
    for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = bias[i] * scale[i] + shift[i];
    return true;
  }

  /// Multiplies and shifts the input of a linear layer: W (s x + t) + b = (W s) x + (W t + b).
  static void merge_before(Draft& layer, const Values& scale, const Values& shift) {
    auto& linear = std::get<graph::Linear>(std::get<graph::Op>(layer.op));
    const auto weight = layer.parameters.find("weight")->second.as<float>();
    const std::size_t columns = scale.size(), rows = weight.size() / columns;
    if (!linear.bias) layer.parameters.emplace("bias", vector_of(Values(rows, 0.0f)));
    linear.bias = true;
    const auto bias = layer.parameters.find("bias")->second.as<float>();
    for (std::size_t r = 0; r < rows; ++r) {
      double sum = bias[r];
      for (std::size_t c = 0; c < columns; ++c) {
        sum += static_cast<double>(weight[r * columns + c]) * shift[c];
        weight[r * columns + c] *= scale[c];
      }
      bias[r] = static_cast<float>(sum);
    }
  }

  /// Makes a linear layer with a diagonal weight of a multiplication and a shift of a vector. It is
  /// used where no linear layer beside them can take them over.
  void make_diagonal(Draft& draft, const Values& scale, const Values& shift) {
    const std::size_t size = scale.size();
    if (size > 4096) {
      problems_.push_back({draft.source, "multiplies a vector of more than 4096 features"});
      return;
    }
    Values weight(size * size, 0.0f);
    for (std::size_t i = 0; i < size; ++i) weight[i * size + i] = scale[i];
    const auto features = static_cast<std::int64_t>(size);
    draft.op = graph::Op(graph::Linear{.out_features = features, .bias = true});
    draft.parameters.emplace(
        "weight", core::HostTensor::of({features, features}, std::span<const float>(weight)));
    draft.parameters.emplace("bias", vector_of(shift));
  }

  void report(int index) {
    const Draft& draft = network_[index];
    if (std::holds_alternative<Affine>(draft.op)) return;  // reported by make_diagonal
    std::string reason = "is supported as part of a layer norm over the channels only";
    if (std::holds_alternative<Erf>(draft.op)) reason = "is supported as part of GELU only";
    if (std::holds_alternative<Softmax>(draft.op))
      reason = "is supported as the last operation only";
    if (std::holds_alternative<Crop>(draft.op) || std::holds_alternative<Bin>(draft.op))
      reason = "a part of the rows or columns is supported as a bin of a pool only";
    if (std::holds_alternative<Pad>(draft.op))
      reason = "is supported directly before a convolution or pool only";
    problems_.push_back({draft.source, std::move(reason)});
  }

  /// Returns the draft that the head begins with: the last global pooling, else the last
  /// flattening, else the last linear layer; of the operations at the end that follow each other
  /// without branches.
  int head_begin() const {
    std::vector<int> chain;
    for (int i = output_; i > 0 && network_[i].inputs.size() == 1;) {
      if (i != output_ && readers_[at(i)] != 1) break;
      chain.push_back(i);
      i = network_[i].inputs[0];
    }
    if (chain.empty()) return output_;
    const auto first = [&](auto is_kind) {
      const auto found = std::ranges::find_if(chain, is_kind);
      return found == chain.end() ? 0 : *found;
    };
    int begin = first([&](int i) {
      return network_.as<graph::GlobalAvgPool>(i) != nullptr ||
             network_.as<graph::SpatialPyramidPool>(i) != nullptr;
    });
    if (begin == 0) begin = first([&](int i) { return network_.as<graph::Flatten>(i) != nullptr; });
    if (begin == 0) begin = first([&](int i) { return network_.as<graph::Linear>(i) != nullptr; });
    if (begin == 0) begin = output_;
    // The segment must have at least one operation.
    for (std::size_t i = chain.size(); i-- > 1 && network_[begin].inputs[0] == 0;)
      if (chain[i] == begin) begin = chain[i - 1];
    return begin;
  }

  /// The range of the output of an operation that only passes values on: those of its inputs.
  std::optional<model::ActivationRange> passed_range(const Draft& draft) const {
    const bool passes = std::visit(
        core::overloaded{
            [](const core::OneOf<graph::Relu, graph::MaxPool, graph::AvgPool,
                                 graph::AdaptiveAvgPool, graph::Concat, graph::Slice,
                                 graph::ChannelShuffle> auto&) { return true; },
            [](const core::OneOf<graph::Conv, graph::BatchNorm, graph::Relu6, graph::Clip,
                                 graph::Sigmoid, graph::HardSigmoid, graph::HardSwish, graph::Silu,
                                 graph::Gelu, graph::Add, graph::Multiply, graph::LayerNorm,
                                 graph::GlobalAvgPool, graph::SpatialPyramidPool, graph::Flatten,
                                 graph::Linear> auto&) { return false; },
        },
        std::get<graph::Op>(draft.op));
    if (!passes) return std::nullopt;
    model::ActivationRange joint;
    for (const int input : draft.inputs) {
      const auto& range = network_[input].range;
      if (!range) return std::nullopt;
      joint.magnitude = std::max(joint.magnitude, range->magnitude);
      joint.is_signed |= range->is_signed;
    }
    joint.is_signed &= !draft.is_nonnegative;
    return joint;
  }

  graph::Segment make_segment(FinishedNetwork& result) {
    const int begin = head_begin();
    std::vector<std::string> tensor_names(at(network_.size()));
    tensor_names[0] = std::string(graph::kInput);
    Names names;
    std::set<int> head;
    for (int i = output_; i >= begin; i = network_[i].inputs[0]) {
      head.insert(i);
      if (i == begin) break;
    }
    graph::Segment segment;
    segment.name = "network";
    if (network_[0].range) result.ranges.emplace(tensor_names[0], *network_[0].range);
    for (int i = 1; i <= output_; ++i) {
      if (!live_[at(i)]) continue;
      Draft& draft = network_.at(i);
      const std::string name = names.of(draft);
      tensor_names[at(i)] = name;
      graph::Node node{name, std::get<graph::Op>(draft.op), {}};
      for (const int input : draft.inputs) node.inputs.push_back(tensor_names[at(input)]);
      for (auto& [suffix, tensor] : draft.parameters)
        result.weights.emplace(fmt::format("{}.{}", name, suffix), std::move(tensor));
      if (!draft.range) draft.range = passed_range(draft);
      if (draft.range && draft.shape.size() == 3) result.ranges.emplace(name, *draft.range);
      (head.contains(i) ? segment.head : segment.nodes).push_back(std::move(node));
    }
    segment.feature = segment.head.front().inputs.front();
    segment.outputs = {segment.feature};
    return segment;
  }

  NetworkDraft& network_;
  int output_;
  std::vector<NodeProblem>& problems_;
  std::vector<bool> live_;
  std::vector<int> readers_;
};

}  // namespace

FinishedNetwork finish_network(NetworkDraft& network, int output, std::string name,
                               std::vector<NodeProblem>& problems) {
  return Finisher(network, output, problems).run(std::move(name));
}

}  // namespace offramp::onnx
