#include "model/remove_exits.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "core/error.h"
#include "model/json_reader.h"

namespace offramp::model {
namespace {

/// Returns, for each segment, whether its head is removed.
std::vector<bool> removed_heads(const graph::Graph& graph, const std::vector<int>& exits) {
  const std::vector<int> segments = graph::exit_segments(graph);
  std::vector<bool> removed(graph.segments.size());
  for (const int exit_index : exits)
    removed[static_cast<std::size_t>(segments[static_cast<std::size_t>(exit_index)])] = true;
  return removed;
}

/// Copies the remaining weights and their scales to their new names.
void copy_weights(const ModelFile& model, const std::vector<bool>& head_removed,
                  ModelFile& result) {
  const std::vector<graph::Parameter> left = graph::parameters(result.graph);
  auto next = left.begin();
  for (const graph::Parameter& parameter : graph::parameters(model.graph)) {
    if (parameter.in_head && head_removed[static_cast<std::size_t>(parameter.segment)]) continue;
    OFFRAMP_ASSERT(next != left.end() && next->shape == parameter.shape);
    result.weights.emplace(next->name, model.weights.at(parameter.name));
    if (const auto scales = model.weight_scales.find(parameter.name);
        scales != model.weight_scales.end())
      result.weight_scales.emplace(next->name, scales->second);
    ++next;
  }
  OFFRAMP_ASSERT(next == left.end());
}

/// Returns the names of the nodes in execution order, without those of the removed heads.
std::vector<std::string> node_names(const graph::Graph& graph,
                                    const std::vector<bool>& head_removed) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < graph.segments.size(); ++i) {
    for (const graph::Node& node : graph.segments[i].nodes) names.push_back(node.name);
    if (head_removed[i]) continue;
    for (const graph::Node& node : graph.segments[i].head) names.push_back(node.name);
  }
  return names;
}

/// Copies the deployment, with the ranges of the remaining tensors under their new names.
void rename_ranges(const ModelFile& model, const std::vector<bool>& head_removed,
                   ModelFile& result) {
  result.deployment = model.deployment;
  if (!result.deployment) return;
  ActivationRanges& ranges = result.deployment->ranges;
  ranges.clear();
  const auto copy_range = [&](std::string_view before, const std::string& after) {
    const auto found = model.deployment->ranges.find(before);
    if (found != model.deployment->ranges.end()) ranges.emplace(after, found->second);
  };
  copy_range(graph::kInput, std::string(graph::kInput));
  const auto before = node_names(model.graph, head_removed);
  const auto after =
      node_names(result.graph, std::vector<bool>(result.graph.segments.size(), false));
  OFFRAMP_ASSERT(before.size() == after.size());
  for (std::size_t i = 0; i < before.size(); ++i) copy_range(before[i], after[i]);
}

/// Returns the logits of the remaining exits. @param all  [images, K, classes]
std::vector<float> logits_of_remaining(const ModelFile& model, const std::vector<int>& exits,
                                       const std::vector<float>& all) {
  const auto classes = static_cast<std::size_t>(model.graph.classes);
  const std::size_t num_exits = graph::exit_segments(model.graph).size();
  std::vector<float> kept;
  for (std::size_t row = 0; (row + 1) * classes <= all.size(); ++row) {
    if (std::ranges::binary_search(exits, static_cast<int>(row % num_exits))) continue;
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * classes);
    kept.insert(kept.end(), begin, begin + static_cast<std::ptrdiff_t>(classes));
  }
  return kept;
}

std::string details_with_note(const std::string& details_json, const std::vector<int>& exits,
                              std::size_t of) {
  Json details = parse_json(details_json);
  if (!details.is_object()) throw Error("provenance.details: not a JSON object");
  Json numbers = Json::array();
  for (const int exit_index : exits) numbers.push_back(exit_index + 1);
  Json& notes = details["dropped_exits"];
  if (!notes.is_array()) notes = Json::array();
  notes.push_back({{"exits", numbers}, {"of", of}});
  return details.dump();
}

}  // namespace

ModelFile remove_exits(const ModelFile& model, const std::vector<int>& exits) {
  ModelFile result;
  result.graph = remove_exits(model.graph, exits);
  const std::vector<bool> head_removed = removed_heads(model.graph, exits);
  copy_weights(model, head_removed, result);
  rename_ranges(model, head_removed, result);
  result.stored_images = model.stored_images;
  result.stored_images.logits = logits_of_remaining(model, exits, model.stored_images.logits);
  result.classes = model.classes;
  result.preprocessing = model.preprocessing;
  for (std::size_t k = 0; k < model.loss_weights.size(); ++k)
    if (!std::ranges::binary_search(exits, static_cast<int>(k)))
      result.loss_weights.push_back(model.loss_weights[k]);
  result.certificates = model.certificates;
  result.provenance = model.provenance;
  if (!exits.empty())
    result.provenance.details_json =
        details_with_note(model.provenance.details_json, exits, model.loss_weights.size());
  return result;
}

}  // namespace offramp::model
