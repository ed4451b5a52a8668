#include "onnx/quantised_network.h"

#include <cmath>
#include <set>

#include "onnx/vector_of.h"

namespace offramp::onnx {
namespace {

using Floats = std::vector<float>;

class Folder {
 public:
  Folder(const model::ModelFile& model, const QuantisedTensors& tensors) {
    result_.model = model;
    result_.tensors = tensors;
  }

  QuantisedNetwork run() {
    count_readers();
    for (const auto& [name, scales] : result_.model.weight_scales) take_integers(name, scales);
    for (graph::Segment& segment : result_.model.graph.segments) {
      fold_nodes(segment.nodes);
      fold_nodes(segment.head);
    }
    rename_tensors();
    return std::move(result_);
  }

 private:
  core::Tensors& weights() { return result_.model.weights; }
  Floats values(const std::string& name) { return weights().find(name)->second.to_f32(); }

  void count_readers() {
    for (const graph::Segment& segment : result_.model.graph.segments) {
      for (const auto* nodes : {&segment.nodes, &segment.head})
        for (const graph::Node& node : *nodes)
          for (const std::string& input : node.inputs) ++readers_[input];
      for (const std::string& output : segment.outputs) ++readers_[output];
      if (!segment.head.empty()) ++readers_[segment.feature];
    }
  }

  void take_integers(const std::string& name, const Floats& scales) {
    QuantisedWeight& weight = result_.weights[name];
    weight.scales = scales;
    const Floats floats = values(name);
    const std::size_t per_channel = floats.size() / scales.size();
    for (std::size_t i = 0; i < floats.size(); ++i)
      weight.integers.push_back(
          static_cast<std::int8_t>(std::lround(floats[i] / scales[i / per_channel])));
  }

  /// Folds the batch norms of a list of nodes and removes them.
  void fold_nodes(std::vector<graph::Node>& nodes) {
    std::set<std::string> folded;
    for (const graph::Node& norm : nodes) {
      const auto* op = std::get_if<graph::BatchNorm>(&norm.op);
      if (op == nullptr || readers_[norm.inputs[0]] != 1) continue;
      for (graph::Node& node : nodes) {
        auto* conv = std::get_if<graph::Conv>(&node.op);
        if (node.name != norm.inputs[0] || conv == nullptr ||
            !result_.weights.contains(node.name + ".weight"))
          continue;
        fold(norm, *op, node, *conv);
        renamed_[norm.name] = node.name;
        folded.insert(norm.name);
      }
    }
    std::erase_if(nodes, [&](const graph::Node& node) { return folded.contains(node.name); });
  }

  /// y = γ (x - μ) / √(σ² + ε) + β
  void fold(const graph::Node& norm, const graph::BatchNorm& op, const graph::Node& node,
            graph::Conv& conv) {
    const Floats gamma = values(norm.name + ".weight"), beta = values(norm.name + ".bias"),
                 mean = values(norm.name + ".running_mean"),
                 variance = values(norm.name + ".running_var");
    QuantisedWeight& weight = result_.weights.find(node.name + ".weight")->second;
    Floats bias = conv.bias ? values(node.name + ".bias") : Floats(gamma.size(), 0.0f);
    const std::size_t per_channel = weight.integers.size() / gamma.size();
    for (std::size_t c = 0; c < gamma.size(); ++c) {
      const double factor = gamma[c] / std::sqrt(static_cast<double>(variance[c]) + op.eps);
      bias[c] = static_cast<float>(bias[c] * factor + (beta[c] - mean[c] * factor));
      const double scale = weight.scales[c] * std::abs(factor);
      const bool vanishes = !(scale > 1e-30);
      weight.scales[c] = vanishes ? 1.0f : static_cast<float>(scale);
      if (!vanishes && factor > 0) continue;
      for (std::size_t i = c * per_channel; i < (c + 1) * per_channel; ++i)
        weight.integers[i] = static_cast<std::int8_t>(vanishes ? 0 : -weight.integers[i]);
    }
    conv.bias = true;
    weights().insert_or_assign(node.name + ".bias", vector_of(bias));
  }

  /// The output of a folded batch norm has the name of the convolution now.
  void rename_tensors() {
    const auto rename = [&](std::string& name) {
      if (const auto found = renamed_.find(name); found != renamed_.end()) name = found->second;
    };
    for (graph::Segment& segment : result_.model.graph.segments) {
      for (auto* nodes : {&segment.nodes, &segment.head})
        for (graph::Node& node : *nodes)
          for (std::string& input : node.inputs) rename(input);
      for (std::string& output : segment.outputs) rename(output);
      rename(segment.feature);
    }
    for (const auto& [norm, conv] : renamed_)
      if (const auto found = result_.tensors.find(norm); found != result_.tensors.end())
        result_.tensors[conv] = found->second;
  }

  QuantisedNetwork result_;
  std::map<std::string, int> readers_;
  std::map<std::string, std::string> renamed_;
};

}  // namespace

QuantisedNetwork quantised_network(const model::ModelFile& model, const QuantisedTensors& tensors) {
  return Folder(model, tensors).run();
}

}  // namespace offramp::onnx
