#include <array>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/operators.h"
#include "onnx/operators/window.h"

namespace offramp::onnx {
namespace {

core::Tensors conv_parameters(Call& call, const Constant& weight, Dims shape) {
  core::Tensors parameters;
  parameters.emplace(
      "weight", core::HostTensor::of(std::move(shape), std::span<const float>(weight.floats())));
  if (call.has_input(2)) {
    const Constant& bias = call.constant(2);
    if (bias.shape() != Dims{weight.shape()[0]})
      throw Error(fmt::format("the bias has the shape {}, expected [{}]",
                              core::to_string(bias.shape()), weight.shape()[0]));
    parameters.emplace("bias",
                       core::HostTensor::of(bias.shape(), std::span<const float>(bias.floats())));
  }
  return parameters;
}

/// A 1×1 convolution of a vector, shown as [N, C, 1, 1], is a linear layer: squeeze-and-excitation
/// and some classifiers are written like this.
void read_pointwise(Call& call, const NetworkTensor& input, const Constant& weight) {
  const Dims& shape = weight.shape();
  const int linear = call.network().append(
      graph::Linear{.out_features = shape[0], .bias = call.has_input(2)}, {input.draft},
      conv_parameters(call, weight, {shape[0], shape[1]}), call.input_name(1));
  AxisView view = AxisView::of(call.network().shape(linear));
  call.output(NetworkTensor{linear, view.with_dim(1, {}).with_dim(2, {})});
}

void read_conv(Call& call) {
  const Constant& weight = call.constant(1);
  const Dims& shape = weight.shape();
  if (shape.size() != 4)
    throw Error(
        fmt::format("the weight has {} dimensions; only convolutions of images, with 4, "
                    "are supported",
                    shape.size()));
  for (const std::int64_t size : shape)
    if (size < 1) throw Error(fmt::format("the weight has the shape {}", core::to_string(shape)));
  if (shape[2] > 65'536 || shape[3] > 65'536) throw Error("the kernel is too large");
  const graph::Extent kernel{static_cast<int>(shape[2]), static_cast<int>(shape[3])};
  if (call.attributes().has("kernel_shape") && read_kernel(call) != kernel)
    throw Error("the attribute kernel_shape differs from the weight");
  const std::int64_t groups = call.attributes().integer("group", 1);
  if (groups < 1 || groups > 65'536) throw Error(fmt::format("has {} groups", groups));

  const NetworkTensor& input = call.tensor(0);
  if (call.shape(input).size() == 1 && input.view.rank() == 3 &&
      input.view.is_plain(call.shape(input))) {
    const Window window = read_window(call, kernel, {call.shape(input)[0], 1, 1});
    if (kernel != graph::Extent(1) || groups != 1 || window.padding != graph::Padding(0) ||
        shape[1] != call.shape(input)[0])
      throw Error("after a global pooling, only 1×1 convolutions of one group are supported");
    return read_pointwise(call, input, weight);
  }
  const PaddedImage image = without_pad(call, input);
  if (image.padded && image.value != 0)
    throw Error(
        fmt::format("the Pad before it has the value {}, only 0 is supported", image.value));
  const graph::Shape& in = call.network().shape(image.draft);
  if (shape[1] * groups != in[0])
    throw Error(fmt::format("the weight {} with {} groups does not fit {} channels",
                            core::to_string(shape), groups, in[0]));
  // auto_pad counts the rows and columns that a Pad before it added.
  const Window window = read_window(call, kernel,
                                    {in[0], in[1] + image.padding.top + image.padding.bottom,
                                     in[2] + image.padding.left + image.padding.right});
  const graph::Conv conv{.out_channels = shape[0],
                         .kernel = kernel,
                         .stride = window.stride,
                         .padding = sum_of(window.padding, image.padding),
                         .groups = static_cast<int>(groups),
                         .bias = call.has_input(2),
                         .dilation = window.dilation};
  call.output_plain(call.network().append(conv, {image.draft}, conv_parameters(call, weight, shape),
                                          call.input_name(1)));
}

constexpr std::array kOperators = {
    Operator{.name = "Conv", .min_inputs = 2, .max_inputs = 3, .read = read_conv},
};

}  // namespace

std::span<const Operator> convolution_operators() { return kOperators; }

}  // namespace offramp::onnx
