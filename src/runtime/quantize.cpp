#include "runtime/quantize.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/bf16.h"
#include "core/error.h"
#include "runtime/activation_ranges.h"
#include "runtime/lower.h"
#include "runtime/quantised_elements.h"

namespace offramp::runtime {
namespace {

model::ModelFile deployment_of(const model::ModelFile& model, std::string precision) {
  if (model.deployment)
    throw Error(
        fmt::format("this is already a deployment file in {}; quantize the model it was made from",
                    model.deployment->precision));
  model::ModelFile deployed = model;
  deployed.policy.reset();
  deployed.deployment = model::Deployment{std::move(precision), {}, {}};
  return deployed;
}

core::HostTensor in_bf16(const core::HostTensor& tensor) {
  core::HostTensor result{core::DType::bf16, tensor.shape, {}};
  const std::vector<float> values = tensor.to_f32();
  result.bytes.resize(values.size() * sizeof(std::uint16_t));
  auto elements = result.as<std::uint16_t>();
  std::ranges::transform(values, elements.begin(), core::to_bf16);
  return result;
}

void quantise(const std::string& name, model::ModelFile& model) {
  core::HostTensor& tensor = model.weights.at(name);
  std::vector<float> values = tensor.to_f32();
  const auto channels = static_cast<std::size_t>(tensor.shape[0]);
  const std::size_t per_channel = values.size() / channels;
  std::vector<float> scales(channels, 1.0f);
  for (std::size_t o = 0; o < channels; ++o) {
    const std::span<float> weights(values.data() + o * per_channel, per_channel);
    float largest = 0;
    for (const float weight : weights) largest = std::max(largest, std::abs(weight));
    // A channel whose weights are almost zero keeps the scale 1, because its steps would be
    // denormal numbers.
    if (largest > 1e-30f) scales[o] = largest / 127;
    for (float& weight : weights) {
      const float steps = std::clamp(std::nearbyint(weight / scales[o]), -127.0f, 127.0f);
      weight = scales[o] * (steps + 0.0f);  // + 0 turns -0 into 0, as an integer stores it
    }
  }
  tensor = core::HostTensor::of(tensor.shape, values);
  model.weight_scales[name] = std::move(scales);
}

/// @param deployed  the deployment file, with the weights of the original model
model::ModelFile with_ranges(model::ModelFile deployed, model::ActivationRanges ranges) {
  for (const graph::Parameter& parameter : graph::parameters(deployed.graph)) {
    if (parameter.role == graph::ParameterRole::conv_weight) quantise(parameter.name, deployed);
    if (parameter.role == graph::ParameterRole::linear_weight) {
      core::HostTensor& tensor = deployed.weights.at(parameter.name);
      tensor = in_bf16(tensor);
    }
  }
  deployed.deployment->ranges = std::move(ranges);
  return deployed;
}

}  // namespace

model::ModelFile quantised_to_int8(const model::ModelFile& model, std::span<const float> images,
                                   int threads) {
  model::ModelFile deployed = deployment_of(model, "int8");
  return with_ranges(std::move(deployed),
                     observe_ranges(model.graph, model.weights, images, threads));
}

model::ModelFile quantised_to_int8(const model::ModelFile& model, model::ActivationRanges ranges) {
  model::ModelFile deployed = deployment_of(model, "int8");
  quantised_elements(lower(model.graph, source_of(model.weights)), ranges);
  return with_ranges(std::move(deployed), std::move(ranges));
}

model::ModelFile rounded_to_bf16(const model::ModelFile& model) {
  model::ModelFile deployed = deployment_of(model, "bf16");
  for (const graph::Parameter& parameter : graph::parameters(deployed.graph))
    if (parameter.role == graph::ParameterRole::conv_weight ||
        parameter.role == graph::ParameterRole::linear_weight) {
      core::HostTensor& tensor = deployed.weights.at(parameter.name);
      tensor = in_bf16(tensor);
    }
  return deployed;
}

}  // namespace offramp::runtime
