#include "model/without_exits.h"

#include <algorithm>
#include <cstddef>

#include "core/error.h"
#include "model/json_reader.h"

namespace offramp {
namespace {

/// Weights of the exits that stay, under their new names.
Tensors weights_left(const Model& model, const Graph& after, const std::vector<int>& exits) {
  const std::vector<int> segments = exit_segments(model.graph);
  std::vector<bool> head_goes(model.graph.segments.size());
  for (const int exit_index : exits)
    head_goes[static_cast<std::size_t>(segments[static_cast<std::size_t>(exit_index)])] = true;

  Tensors weights;
  const std::vector<Parameter> left = parameters(after);
  auto next = left.begin();
  for (const Parameter& parameter : parameters(model.graph)) {
    if (parameter.in_head && head_goes[static_cast<std::size_t>(parameter.segment)]) continue;
    OFFRAMP_ASSERT(next != left.end() && next->shape == parameter.shape);
    weights.emplace((next++)->name, model.weights.at(parameter.name));
  }
  OFFRAMP_ASSERT(next == left.end());
  return weights;
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

Model without_exits(const Model& model, const std::vector<int>& exits) {
  Model result;
  result.graph = without_exits(model.graph, exits);
  result.weights = weights_left(model, result.graph, exits);
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

}  // namespace offramp
