#include <array>
#include <cmath>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/operators.h"

// QuantizeLinear and DequantizeLinear. Weights get the values that their integers stand for. The
// quantisation of activations is dropped with a note: `offramp quantize` chooses its own ranges.
namespace offramp::onnx {
namespace {

constexpr const char* kDropped =
    "the 8-bit quantisation of activations was left out; `offramp quantize` makes an int8 model";

void read_quantize(Call& call) {
  call.attributes().ignore("axis");
  call.attributes().ignore("saturate");
  call.attributes().ignore("output_dtype");
  call.constant(1);
  if (call.is_constant(0)) throw Error("quantises a constant; export the weights as integers");
  call.note(kDropped);
  call.output(call.tensor(0));
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
