#include <array>

#include "core/error.h"
#include "onnx/constant_math.h"
#include "onnx/operators.h"
#include "onnx/schema.h"

// Operators that make constants, or pass values on unchanged.
namespace offramp::onnx {
namespace {

using schema::TensorProto;

void read_constant(Call& call) {
  NodeView& attributes = call.attributes();
  if (auto value = attributes.tensor("value")) return call.output(std::move(*value));
  if (attributes.has("value_float"))
    return call.output(
        Constant({}, Constant::Floats{static_cast<float>(attributes.number("value_float", 0))}));
  if (attributes.has("value_int"))
    return call.output(Constant({}, Constant::Integers{attributes.integer("value_int", 0)}));
  if (attributes.has("value_floats")) {
    auto values = attributes.numbers("value_floats");
    const auto count = static_cast<std::int64_t>(values.size());
    return call.output(Constant({count}, std::move(values)));
  }
  if (attributes.has("value_ints")) {
    auto values = attributes.integers("value_ints");
    const auto count = static_cast<std::int64_t>(values.size());
    return call.output(Constant({count}, std::move(values)));
  }
  throw Error("has no value of a supported kind: a dense tensor or numbers");
}

void read_constant_of_shape(Call& call) {
  const Constant& sizes = call.constant(0);
  Dims shape = sizes.integers();
  if (shape.size() > 16) throw Error(fmt::format("makes {} dimensions, at most 16", shape.size()));
  const std::int64_t count = checked_count(shape);
  call.spend(count);
  const auto value = call.attributes().tensor("value");
  const auto size = static_cast<std::size_t>(count);
  if (value && value->count() != 1) throw Error("the attribute value must have one element");
  if (value && !value->is_float())
    return call.output(Constant(shape, Constant::Integers(size, value->integers()[0])));
  call.output(Constant(shape, Constant::Floats(size, value ? value->floats()[0] : 0.0f)));
}

void read_identity(Call& call) { call.output(call.value(0)); }

/// Dropout changes nothing when a network is used. Its second output, the mask, has no reader then.
void read_dropout(Call& call) {
  call.attributes().ignore("ratio");
  call.attributes().ignore("seed");
  if (call.has_input(2) && call.constant(2).integer() != 0)
    throw Error("is in training mode; export the network with model.eval()");
  call.output(call.value(0));
}

void read_cast(Call& call) {
  const std::int64_t type = call.attributes().integer("to", 0);
  call.attributes().ignore("saturate");
  const bool to_float = type == TensorProto::FLOAT || type == TensorProto::FLOAT16 ||
                        type == TensorProto::BFLOAT16 || type == TensorProto::DOUBLE;
  const bool to_integer = type == TensorProto::INT64 || type == TensorProto::INT32 ||
                          type == TensorProto::BOOL || type == TensorProto::UINT8 ||
                          type == TensorProto::INT8;
  if (!to_float && !to_integer) throw Error(fmt::format("the type {} is not supported", type));
  if (!call.is_constant(0)) {
    if (!to_float) throw Error("a tensor of the network cannot become integers");
    return call.output(call.value(0));
  }
  const Constant& constant = call.constant(0);
  if (constant.is_float() == to_float && type != TensorProto::BOOL) return call.output(constant);
  call.spend(constant.count());
  if (to_float) return call.output(Constant(constant.shape(), constant.to_floats()));
  Constant::Integers values;
  for (const float value : constant.to_floats()) {
    if (!(value > -9e18f && value < 9e18f)) throw Error("a value does not fit into an integer");
    values.push_back(type == TensorProto::BOOL ? std::int64_t{value != 0}
                                               : static_cast<std::int64_t>(value));
  }
  call.output(Constant(constant.shape(), std::move(values)));
}

void read_not(Call& call) {
  const Constant& constant = call.constant(0);
  Constant::Integers values = constant.integers();
  call.spend(constant.count());
  for (std::int64_t& value : values) value = value == 0 ? 1 : 0;
  call.output(Constant(constant.shape(), std::move(values)));
}

void read_where(Call& call) {
  const Constant& condition = call.constant(0);
  if (condition.count() == 1 && condition.shape().size() <= 1)
    return call.output(call.value(condition.integer() != 0 ? 1 : 2));
  const Dims shape = broadcast_shape(
      condition.shape(), broadcast_shape(call.constant(1).shape(), call.constant(2).shape()));
  call.spend(3 * checked_count(shape));
  const Constant chosen = broadcast(condition, shape);
  const Constant a = broadcast(call.constant(1), shape), b = broadcast(call.constant(2), shape);
  Constant::Integers values;
  for (std::size_t i = 0; i < chosen.integers().size(); ++i)
    values.push_back((chosen.integers()[i] != 0 ? a : b).integers()[i]);
  call.output(Constant(shape, std::move(values)));
}

void read_range(Call& call) {
  const std::int64_t start = call.constant(0).integer(), limit = call.constant(1).integer(),
                     delta = call.constant(2).integer();
  if (delta == 0) throw Error("the step is 0");
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  for (const std::int64_t value : {start, limit, delta})
    if (value < -kMost || value > kMost) throw Error("the limits are too large");
  const std::int64_t count =
      std::max<std::int64_t>(0, (limit - start + delta - (delta > 0 ? 1 : -1)) / delta);
  call.spend(count);
  Constant::Integers values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(start + i * delta);
  call.output(Constant({count}, std::move(values)));
}

constexpr std::array kOperators = {
    Operator{.name = "Constant", .min_inputs = 0, .max_inputs = 0, .read = read_constant},
    Operator{.name = "ConstantOfShape", .since = 9, .read = read_constant_of_shape},
    Operator{.name = "Identity", .read = read_identity},
    Operator{
        .name = "Dropout", .since = 7, .max_inputs = 3, .max_outputs = 2, .read = read_dropout},
    Operator{.name = "Cast", .since = 6, .read = read_cast},
    Operator{.name = "Not", .read = read_not},
    Operator{.name = "Where", .since = 9, .min_inputs = 3, .max_inputs = 3, .read = read_where},
    Operator{.name = "Range", .since = 11, .min_inputs = 3, .max_inputs = 3, .read = read_range},
};

}  // namespace

std::span<const Operator> constant_operators() { return kOperators; }

}  // namespace offramp::onnx
