#include "model/certified_hash.h"

#include <fmt/format.h>

#include <span>
#include <string_view>

#include "core/hash.h"
#include "graph/graph.h"

namespace offramp::model {
namespace {

/// Computes one hash over several values. Each is preceded by its size, so that values cannot move
/// from one to the next.
class Hash {
 public:
  void add(std::span<const std::byte> bytes) {
    const std::uint64_t size = bytes.size();
    value_ = core::hash_of(std::as_bytes(std::span(&size, 1)), value_);
    value_ = core::hash_of(bytes, value_);
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  void add(std::span<const float> values) { add(std::as_bytes(values)); }
  std::string text() const { return fmt::format("{:016x}", value_); }

 private:
  std::uint64_t value_ = 0;
};

void add(Hash& hash, const core::Preprocessing& preprocessing) {
  hash.add(fmt::format("{} {} {}", preprocessing.height, preprocessing.width,
                       core::to_string(preprocessing.fit)));
  hash.add(std::span<const float>(preprocessing.mean));
  hash.add(std::span<const float>(preprocessing.std));
}

void add(Hash& hash, const policy::Policy& policy) {
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
  Hash hash;
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
