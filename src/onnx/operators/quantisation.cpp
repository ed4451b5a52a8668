#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/operators.h"

// QuantizeLinear and DequantizeLinear. Weights get the values that their integers stand for, and
// tensors of the network the range that 8 bits represent.
namespace offramp::onnx {
namespace {

/// What the integers of a QuantizeLinear stand for: scale (q - zero) for q from least to most.
struct Quantisation {
  double scale = 1;
  std::int64_t zero = 0, least = 0, most = 255;

  double low() const { return scale * static_cast<double>(least - zero); }
  double high() const { return scale * static_cast<double>(most - zero); }
};

/// @return nullopt if the tensor has several scales or more than 8 bits
std::optional<Quantisation> quantisation_of(Call& call) {
  std::int64_t type = call.attributes().integer("output_dtype", 0);
  if (call.has_input(2))
    type = call.constant(2).type();
  else if (type == 0)
    type = schema::TensorProto::UINT8;
  Quantisation result;
  if (type == schema::TensorProto::INT8) {
    result.least = -128;
    result.most = 127;
  } else if (type != schema::TensorProto::UINT8) {
    return std::nullopt;
  }
  if (call.constant(1).count() != 1) return std::nullopt;
  result.scale = call.constant(1).scalar();
  if (call.has_input(2)) result.zero = call.constant(2).integer();
  if (!(result.scale > 0 && std::isfinite(result.scale)))
    throw Error(fmt::format("its scale is {}, expected a number above 0", result.scale));
  if (result.zero < result.least || result.zero > result.most)
    throw Error(fmt::format("its zero point is {}, expected {} to {}", result.zero, result.least,
                            result.most));
  return result;
}

/// The range of 8 bits in an int8 model, which is symmetric or begins at 0, that holds all values.
model::ActivationRange range_of(const Quantisation& quantisation) {
  const bool is_signed = quantisation.low() < 0;
  // Signed integers are used from -127 on.
  const double below = is_signed ? -quantisation.low() - quantisation.scale : 0;
  return {static_cast<float>(std::max(quantisation.high(), below)), is_signed};
}

/// Whether a tensor may be the output of a layer whose ReLU or ReLU6 was removed. A layer's output
/// is a value of the graph, or an affine function of one; pixels are not below 0.
bool may_lack_a_relu(const NetworkDraft& network, int draft) {
  if (draft == 0 || network[draft].is_nonnegative) return false;
  if (network.as<Affine>(draft) != nullptr) return network[draft].inputs[0] != 0;
  return std::holds_alternative<graph::Op>(network[draft].op);
}

void read_quantize(Call& call) {
  call.attributes().ignore("axis");
  call.attributes().ignore("saturate");
  call.attributes().ignore("output_dtype");
  call.constant(1);
  if (call.is_constant(0)) throw Error("quantises a constant; export the weights as integers");
  call.set_quantised();
  NetworkTensor tensor = call.tensor(0);
  if (const auto quantisation = quantisation_of(call)) {
    NetworkDraft& network = call.network();
    // Programs that quantise remove a ReLU or ReLU6 whose clamping the integers do as well.
    if (quantisation->low() == 0 && may_lack_a_relu(network, tensor.draft))
      tensor.draft = network.append_clip(tensor.draft, 0, quantisation->high());
    std::optional<model::ActivationRange>& range = network.at(tensor.draft).range;
    const model::ActivationRange found = range_of(*quantisation);
    range = {std::max(found.magnitude, range ? range->magnitude : 0),
             found.is_signed || (range && range->is_signed)};
  }
  call.output(tensor);
}

void read_dequantize(Call& call) {
  const std::int64_t given = call.attributes().integer("axis", 1);
  call.attributes().expect("block_size", 0);
  const Constant& scale = call.constant(1);
  if (!call.is_constant(0)) return call.output(call.tensor(0));
  const Constant& integers = call.constant(0);
  const Dims& shape = integers.shape();
  std::size_t axis = 0;
  std::int64_t scales = scale.count();
  if (scales != 1) {
    axis = checked_axis(given, shape.size());
    if (scale.shape() != Dims{shape[axis]})
      throw Error(fmt::format("has {} scales for {}", scales, core::to_string(shape)));
  }
  if (call.has_input(2) && call.constant(2).count() != scales)
    throw Error("has another number of zero points than of scales");
  std::int64_t inner = 1;
  for (std::size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  call.spend(integers.count());
  Constant::Floats values;
  values.reserve(integers.integers().size());
  for (std::size_t i = 0; i < integers.integers().size(); ++i) {
    const std::size_t channel =
        scales == 1 ? 0 : (i / static_cast<std::size_t>(inner)) % static_cast<std::size_t>(scales);
    const std::int64_t zero = call.has_input(2) ? call.constant(2).integers()[channel] : 0;
    values.push_back(static_cast<float>(integers.integers()[i] - zero) * scale.floats()[channel]);
  }
  call.output(Constant(shape, std::move(values)));
}

constexpr std::array kOperators = {
    Operator{.name = "QuantizeLinear",
             .since = 10,
             .min_inputs = 2,
             .max_inputs = 3,
             .read = read_quantize},
    Operator{.name = "DequantizeLinear",
             .since = 10,
             .min_inputs = 2,
             .max_inputs = 3,
             .read = read_dequantize},
};

}  // namespace

std::span<const Operator> quantisation_operators() { return kOperators; }

}  // namespace offramp::onnx
