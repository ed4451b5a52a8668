#include "model/backbone_options.h"

#include <optional>

#include "core/error.h"
#include "graph/graph.h"

namespace offramp::model {
namespace {

/// Returns the first parameter of the plain backbone: the weight of its first convolution. nullopt
/// if the backbone is unknown or does not support the options.
std::optional<graph::Parameter> first_parameter(const std::string& backbone,
                                                const graph::BackboneOptions& options) {
  graph::NetworkSpec plain;
  plain.backbone = backbone;
  plain.options = options;
  try {
    return graph::parameters(graph::build_network(plain)).front();
  } catch (const UsageError&) {
    return std::nullopt;
  }
}

/// Returns `options` with the width whose first parameter has the given shape; nullopt if none has.
std::optional<graph::BackboneOptions> with_width_of(const std::vector<std::int64_t>& shape,
                                                    const std::string& backbone,
                                                    graph::BackboneOptions options) {
  constexpr int kProbe = 64;  // channels are proportional to the width
  options.width = kProbe;
  const auto probe = first_parameter(backbone, options);
  if (!probe || shape.size() != probe->shape.size() || shape[0] < 1 || shape[0] > 65536)
    return std::nullopt;
  options.width = static_cast<int>(shape[0] * kProbe / probe->shape[0]);
  if (options.width < 1) return std::nullopt;
  const auto found = first_parameter(backbone, options);
  return found && found->shape == shape ? std::optional(options) : std::nullopt;
}

}  // namespace

graph::BackboneOptions options_of_weights(const std::filesystem::path& path,
                                          const graph::NetworkSpec& spec) {
  const graph::Stem other =
      spec.options.stem == graph::Stem::cifar ? graph::Stem::imagenet : graph::Stem::cifar;
  for (const graph::Stem stem : {spec.options.stem, other}) {
    graph::BackboneOptions options = spec.options;
    options.stem = stem;
    const auto first = first_parameter(spec.backbone, options);
    if (!first) continue;
    const std::vector<std::int64_t> shape = shape_in_file(path, first->name);
    if (const auto found = with_width_of(shape, spec.backbone, options)) return *found;
  }
  return spec.options;
}

}  // namespace offramp::model
