#include "model/certified_hash.h"

#include <fmt/format.h>

#include <span>

#include "core/hash.h"
#include "graph/graph.h"

namespace offramp::model {
namespace {

void add(core::HashOfValues& hash, const core::Preprocessing& preprocessing) {
  hash.add(fmt::format("{} {} {}", preprocessing.height, preprocessing.width,
                       core::to_string(preprocessing.fit)));
  hash.add(std::span<const float>(preprocessing.mean));
  hash.add(std::span<const float>(preprocessing.std));
}

void add(core::HashOfValues& hash, const policy::Policy& policy) {
  hash.add(to_string(policy.criterion));
  hash.add(to_string(policy.ensemble));
  for (const std::optional<float>& threshold : policy.thresholds)
    hash.add(threshold ? std::span<const float>(&*threshold, 1) : std::span<const float>());
  hash.add(policy.temperatures);
  hash.add(policy.ensemble_weights);
}

}  // namespace

std::string certified_hash(
    const ModelFile& model,
    const std::function<std::vector<float>(const std::string& parameter)>& values_of) {
  core::HashOfValues hash;
  hash.add(graph_to_json(model.graph));
  for (const std::string& name : model.classes) hash.add(name);
  for (const graph::Parameter& parameter : graph::parameters(model.graph)) {
    hash.add(parameter.name);
    hash.add(values_of(parameter.name));
  }
  if (model.deployment)
    for (const auto& [tensor, range] : model.deployment->ranges) {
      hash.add(tensor);
      const float magnitude = range.is_signed ? -range.magnitude : range.magnitude;
      hash.add(std::span<const float>(&magnitude, 1));
    }
  add(hash, model.preprocessing);
  if (model.policy) add(hash, model.policy->policy);
  return hash.text();
}

std::string certified_hash(const ModelFile& model) {
  return certified_hash(model,
                        [&](const std::string& name) { return model.weights.at(name).to_f32(); });
}

}  // namespace offramp::model
