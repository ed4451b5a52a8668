#include "onnx/operators.h"

#include <map>

#include "core/error.h"
#include "core/text.h"

namespace offramp::onnx {
namespace {

const std::multimap<std::string_view, const Operator*>& table() {
  static const auto result = [] {
    std::multimap<std::string_view, const Operator*> all;
    for (const auto family : {activation_operators(), arithmetic_operators(), constant_operators(),
                              convolution_operators(), joining_operators(), linear_operators(),
                              normalisation_operators(), pooling_operators(),
                              quantisation_operators(), reduction_operators(), shape_operators()})
      for (const Operator& op : family) all.emplace(op.name, &op);
    return all;
  }();
  return result;
}

/// Returns what the user can do about an operator that is not supported.
std::string_view advice(std::string_view name) {
  if (name == "Loop" || name == "Scan" || name == "If" || name == "NonZero")
    return "export the network for a fixed path, without control flow that depends on the image";
  if (name == "Attention" || name == "MultiHeadAttention" || name == "Einsum")
    return "offramp runs convolutional classifiers, not transformers";
  if (name.starts_with("QLinear") || name.ends_with("Integer"))
    return "export it in f32, or with QuantizeLinear and DequantizeLinear; `offramp quantize` "
           "makes "
           "int8 models";
  if (name == "Resize" || name == "Upsample" || name == "ConvTranspose")
    return "offramp runs classifiers; remove what enlarges images before the export";
  return "replace it in the network before the export";
}

}  // namespace

const Operator& find_operator(const std::string& domain, const std::string& name, int opset) {
  if (!domain.empty() && domain != "ai.onnx")
    throw UnsupportedOperator(
        fmt::format("the domain {} is not supported; export with standard operators only",
                    core::quote(domain)));
  const auto [first, last] = table().equal_range(name);
  if (first == last)
    throw UnsupportedOperator(fmt::format("the operator is not supported; {}", advice(name)));
  for (auto it = first; it != last; ++it)
    if (it->second->since <= opset && opset <= it->second->until) return *it->second;
  throw UnsupportedOperator(fmt::format(
      "the operator is not supported in opset {}, but from opset {}", opset, first->second->since));
}

void check_arity(const Operator& op, const schema::NodeProto& node) {
  const auto inputs = static_cast<std::size_t>(node.input_size());
  if (inputs < op.min_inputs || inputs > op.max_inputs)
    throw Error(
        op.min_inputs == op.max_inputs
            ? fmt::format("takes {} inputs, got {}", op.min_inputs, inputs)
            : fmt::format("takes {} to {} inputs, got {}", op.min_inputs, op.max_inputs, inputs));
  for (std::size_t i = 0; i < op.min_inputs; ++i)
    if (node.input(static_cast<int>(i)).empty())
      throw Error(fmt::format("input {} is missing", i + 1));
  const auto outputs = static_cast<std::size_t>(node.output_size());
  if (outputs < 1 || outputs > op.max_outputs)
    throw Error(fmt::format("gives 1 to {} outputs, got {}", op.max_outputs, outputs));
}

bool Call::all_constant() const {
  for (std::size_t i = 0; i < inputs_.size(); ++i)
    if (has_input(i) && !is_constant(i)) return false;
  return true;
}

const Value& Call::value(std::size_t index) const {
  if (!has_input(index)) throw Error(fmt::format("input {} is missing", index + 1));
  return *inputs_[index];
}

const Constant& Call::constant(std::size_t index) const {
  const auto* found = std::get_if<Constant>(&value(index));
  if (found == nullptr)
    throw Error(fmt::format("input {} depends on the image; only constants are supported there",
                            index + 1));
  return *found;
}

const NetworkTensor& Call::tensor(std::size_t index) const {
  const auto* found = std::get_if<NetworkTensor>(&value(index));
  if (found == nullptr)
    throw Error(fmt::format("input {} is a constant, expected a tensor of the network", index + 1));
  return *found;
}

void Call::output_plain(int draft) {
  output(NetworkTensor{draft, AxisView::of(network().shape(draft))});
}

void Call::note(std::string text) {
  for (const std::string& known : model_.notes)
    if (known == text) return;
  model_.notes.push_back(std::move(text));
}

void Call::spend(std::int64_t elements) {
  const auto bytes = static_cast<std::int64_t>(model_.file_bytes + model_.tensors.external_bytes());
  model_.computed += elements;
  if (model_.computed > 4 * bytes + (std::int64_t{1} << 24))
    throw Error("arithmetic on constants makes far more values than the file holds");
}

}  // namespace offramp::onnx
