#include "graph/random_weights.h"

#include <cmath>
#include <numbers>
#include <string_view>

#include "core/random.h"

namespace offramp::graph {
namespace {

/// Returns a standard normal value: one of the two that the Box-Muller method gives.
float normal(core::KeyedRandom& random) {
  const float radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * std::numbers::pi_v<float> * random.uniform());
}

float draw(ParameterRole role, std::int64_t fan_in, core::KeyedRandom& random) {
  switch (role) {
    case ParameterRole::conv_weight:
      return normal(random) * std::sqrt(2 / static_cast<float>(fan_in));
    case ParameterRole::linear_weight:
      return normal(random) / std::sqrt(static_cast<float>(fan_in));
    case ParameterRole::norm_weight:
      return random.uniform(0.75f, 1.25f);
    case ParameterRole::running_var:
      return random.uniform(0.5f, 1.5f);
    case ParameterRole::bias:
    case ParameterRole::norm_bias:
    case ParameterRole::running_mean:
      return random.uniform(-0.2f, 0.2f);
  }
  return 0;
}

/// Returns a hash of a name. It does not use core/hash.h, because this hash must stay the same in
/// every version, so that results of recipes with random weights stay comparable.
std::uint64_t name_key(std::string_view name) {
  std::uint64_t key = 0;
  for (const char c : name) key = core::splitmix64(key ^ static_cast<unsigned char>(c));
  return key;
}

}  // namespace

core::Tensors random_weights(const Graph& graph, std::uint64_t seed) {
  core::Tensors weights;
  for (const Parameter& parameter : parameters(graph)) {
    core::KeyedRandom random(seed, name_key(parameter.name));
    const std::int64_t count = core::element_count(parameter.shape);
    std::vector<float> values;
    for (std::int64_t i = 0; i < count; ++i)
      values.push_back(draw(parameter.role, count / parameter.shape[0], random));
    weights.emplace(parameter.name, core::HostTensor::of(parameter.shape, values));
  }
  return weights;
}

std::vector<float> random_images(const Graph& graph, int count, std::uint64_t seed) {
  core::KeyedRandom random(seed, 1);
  std::vector<float> images(static_cast<std::size_t>(count * core::element_count(graph.input)));
  for (float& value : images) value = normal(random);
  return images;
}

}  // namespace offramp::graph
