#include <array>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/constant_math.h"
#include "onnx/operators.h"

// Gemm and MatMul with a constant: linear layers, and 1×1 convolutions where channels come last.
namespace offramp::onnx {
namespace {

/// Returns the weight [out, in] with its columns in the order of the network's features.
Constant with_order(Call& call, const Constant& weight, const std::vector<std::int64_t>& order) {
  if (order.empty()) return weight;
  call.spend(weight.count());
  // Feature i of the ONNX tensor is feature order[i] of the network's.
  std::vector<std::int64_t> from(order.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    from[static_cast<std::size_t>(order[i])] = static_cast<std::int64_t>(i);
  return taken(weight, 1, from);
}

core::HostTensor tensor_of(const Constant& constant, Dims shape) {
  return core::HostTensor::of(std::move(shape), std::span<const float>(constant.floats()));
}

/// @param weight  [out, in]
int append_linear(Call& call, const NetworkTensor& input, const Constant& weight,
                  core::Tensors parameters) {
  std::vector<std::int64_t> order;
  const int vector = as_vector(call.network(), input, order);
  const Dims& shape = weight.shape();
  const std::int64_t features = call.network().shape(vector)[0];
  if (shape[1] != features)
    throw Error(fmt::format("the weight has {} inputs, but the tensor has {} features", shape[1],
                            features));
  if (shape[0] < 1) throw Error("the weight has no outputs");
  parameters.emplace("weight", tensor_of(with_order(call, weight, order), shape));
  const graph::Linear linear{.out_features = shape[0], .bias = parameters.contains("bias")};
  return call.network().append(linear, {vector}, std::move(parameters), call.input_name(1));
}

const Constant& matrix(Call& call, std::size_t index) {
  const Constant& weight = call.constant(index);
  if (weight.shape().size() != 2)
    throw Error(fmt::format("the weight has the shape {}, expected a matrix",
                            core::to_string(weight.shape())));
  return weight;
}

void read_gemm(Call& call) {
  NodeView& attributes = call.attributes();
  const float alpha = static_cast<float>(attributes.number("alpha", 1));
  const float beta = static_cast<float>(attributes.number("beta", 1));
  attributes.expect("transA", 0);
  Constant weight = matrix(call, 1);
  if (attributes.integer("transB", 0) == 0) {
    call.spend(weight.count());
    weight = transposed(weight, {1, 0});
  }
  if (alpha != 1) {
    call.spend(weight.count());
    Constant::Floats values = weight.floats();
    for (float& value : values) value *= alpha;
    weight = Constant(weight.shape(), std::move(values));
  }
  core::Tensors parameters;
  if (call.has_input(2)) {
    const std::int64_t outputs = weight.shape()[0];
    const Constant& given = call.constant(2);
    if (given.shape().size() > 2 || (given.shape().size() == 2 && given.shape()[0] != 1))
      throw Error(fmt::format("the bias has the shape {}", core::to_string(given.shape())));
    call.spend(outputs);
    Constant::Floats values = broadcast(given.reshaped({given.count()}), {outputs}).floats();
    for (float& value : values) value *= beta;
    parameters.emplace("bias", core::HostTensor::of({outputs}, std::span<const float>(values)));
  }
  call.output_plain(append_linear(call, call.tensor(0), weight, std::move(parameters)));
}

/// MatMul with channels last is a 1×1 convolution, whose output has channels last too.
void read_pointwise(Call& call, const NetworkTensor& input, const Constant& weight,
                    std::size_t channel_dim) {
  const Dims& shape = weight.shape();  // [out, in]
  core::Tensors parameters;
  parameters.emplace("weight", tensor_of(weight, {shape[0], shape[1], 1, 1}));
  const int conv = call.network().append(graph::Conv{.out_channels = shape[0]}, {input.draft},
                                         std::move(parameters), call.input_name(1));
  call.output(
      NetworkTensor{conv, input.view.without_dim(channel_dim)
                              .with_dim(channel_dim, whole_axis(call.network().shape(conv), 0))});
}

void read_matmul(Call& call) {
  if (!call.is_constant(0) && !call.is_constant(1))
    throw Error(
        "the product of two matrices of the network, as in attention, is not supported; offramp "
        "runs convolutional classifiers");
  const NetworkTensor& input = call.tensor(0);
  call.spend(matrix(call, 1).count());
  const Constant weight = transposed(matrix(call, 1), {1, 0});
  if (input.view.rank() == 1) return call.output_plain(append_linear(call, input, weight, {}));
  const graph::Shape& shape = call.shape(input);
  const std::size_t last = input.view.rank() - 1;
  if (shape.size() != 3 || input.view.rank() != 3 || !input.view.is_axis(last, 0, shape) ||
      weight.shape()[1] != shape[0])
    throw Error(
        fmt::format("the product of [N,{}] and a matrix {} is not supported: the last dimension "
                    "must be the channels",
                    fmt::join(input.view.sizes(), ","), core::to_string(matrix(call, 1).shape())));
  read_pointwise(call, input, weight, last);
}

constexpr std::array kOperators = {
    Operator{.name = "Gemm", .since = 7, .min_inputs = 2, .max_inputs = 3, .read = read_gemm},
    Operator{.name = "MatMul", .min_inputs = 2, .max_inputs = 2, .read = read_matmul},
};

}  // namespace

std::span<const Operator> linear_operators() { return kOperators; }

}  // namespace offramp::onnx
