#include <array>
#include <cmath>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/operators.h"

namespace offramp::onnx {
namespace {

core::HostTensor channel_tensor(const Constant& constant, std::int64_t channels) {
  if (constant.shape() != Dims{channels})
    throw Error(fmt::format("a parameter has the shape {}, expected [{}]",
                            core::to_string(constant.shape()), channels));
  return core::HostTensor::of({channels}, std::span<const float>(constant.floats()));
}

void read_batch_norm(Call& call) {
  NodeView& attributes = call.attributes();
  const double eps = attributes.number("epsilon", 1e-5);
  attributes.ignore("momentum");  // matters in training only
  if (attributes.opset() < 9) attributes.expect("spatial", 1);
  if (attributes.integer("training_mode", 0) != 0)
    throw Error("is in training mode; export the network with model.eval()");
  const NetworkTensor& input = call.tensor(0);
  const graph::Shape shape = call.shape(input);
  const auto channels = input.view.channel_dim(shape);
  if (!channels || *channels != 0)
    throw Error("its input must have the channels as second dimension");
  core::Tensors parameters;
  const std::array<const char*, 4> names = {"weight", "bias", "running_mean", "running_var"};
  for (std::size_t i = 0; i < names.size(); ++i)
    parameters.emplace(names[i], channel_tensor(call.constant(i + 1), shape[0]));
  for (const float variance : parameters.find("running_var")->second.as<float>())
    if (!(variance >= 0)) throw Error("a variance is negative or not a number");
  if (shape.size() == 3 && eps >= 1e-12 && eps <= 1) {
    const int norm = call.network().append(graph::BatchNorm{.eps = eps}, {input.draft},
                                           std::move(parameters), call.input_name(1));
    return call.output(NetworkTensor{norm, input.view});
  }
  Affine affine;
  for (std::size_t c = 0; c < static_cast<std::size_t>(shape[0]); ++c) {
    const auto value = [&](const char* name) {
      return static_cast<double>(parameters.find(name)->second.as<float>()[c]);
    };
    const double scale = value("weight") / std::sqrt(value("running_var") + eps);
    affine.scale.push_back(static_cast<float>(scale));
    affine.shift.push_back(static_cast<float>(value("bias") - scale * value("running_mean")));
  }
  call.output(
      NetworkTensor{call.network().append_affine(input.draft, std::move(affine)), input.view});
}

void read_layer_norm(Call& call) {
  NodeView& attributes = call.attributes();
  const double eps = attributes.number("epsilon", 1e-5);
  attributes.ignore("stash_type");  // the precision of intermediate values does not matter here
  const NetworkTensor& input = call.tensor(0);
  const graph::Shape& shape = call.shape(input);
  const std::size_t axis = checked_axis(attributes.integer("axis", -1), input.view.rank() + 1);
  if (axis != input.view.rank() || !input.view.is_axis(axis - 1, 0, shape))
    throw Error("is supported over the channels as the last dimension only");
  core::Tensors parameters;
  parameters.emplace("weight", channel_tensor(call.constant(1), shape[0]));
  if (call.has_input(2)) {
    parameters.emplace("bias", channel_tensor(call.constant(2), shape[0]));
  } else {
    const std::vector<float> zeros(static_cast<std::size_t>(shape[0]), 0.0f);
    parameters.emplace("bias", core::HostTensor::of({shape[0]}, std::span<const float>(zeros)));
  }
  const int norm = call.network().append(graph::LayerNorm{.eps = eps}, {input.draft},
                                         std::move(parameters), call.input_name(1));
  call.output(NetworkTensor{norm, input.view});
}

constexpr std::array kOperators = {
    // The outputs after the first are those of training.
    Operator{.name = "BatchNormalization",
             .since = 7,
             .min_inputs = 5,
             .max_inputs = 5,
             .max_outputs = 5,
             .read = read_batch_norm},
    Operator{.name = "LayerNormalization",
             .since = 17,
             .min_inputs = 2,
             .max_inputs = 3,
             .max_outputs = 3,
             .read = read_layer_norm},
};

}  // namespace

std::span<const Operator> normalisation_operators() { return kOperators; }

}  // namespace offramp::onnx
