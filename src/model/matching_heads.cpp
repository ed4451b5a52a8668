#include "model/matching_heads.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace offramp {
namespace {

using Heads = std::map<std::string, std::vector<Parameter>>;  // by the node they read

Heads heads_of(const Graph& graph) {
  Heads heads;
  for (const Parameter& parameter : parameters(graph))
    if (parameter.in_head)
      heads[graph.segments[static_cast<std::size_t>(parameter.segment)].feature].push_back(
          parameter);
  return heads;
}

/// "fc.weight" of "exits.2.fc.weight".
std::string_view without_number(std::string_view name) {
  constexpr std::string_view kPrefix = "exits.";
  if (!name.starts_with(kPrefix)) return name;
  return name.substr(name.find('.', kPrefix.size()) + 1);
}

bool fits(const Parameter& ours, const Parameter& theirs) {
  if (without_number(ours.name) != without_number(theirs.name) || ours.role != theirs.role ||
      ours.shape.size() != theirs.shape.size())
    return false;
  // A classifier's rows are the classes.
  const bool classifier =
      ours.role == ParameterRole::linear_weight || ours.role == ParameterRole::bias;
  return std::equal(ours.shape.begin() + classifier, ours.shape.end(),
                    theirs.shape.begin() + classifier);
}

}  // namespace

std::map<std::string, std::string> matching_heads(const Graph& graph, const Graph& theirs) {
  std::map<std::string, std::string> names;
  const Heads others = heads_of(theirs);
  for (const auto& [feature, ours] : heads_of(graph)) {
    const auto other = others.find(feature);
    if (other == others.end() || !std::ranges::equal(ours, other->second, fits)) continue;
    for (std::size_t i = 0; i < ours.size(); ++i) names[ours[i].name] = other->second[i].name;
  }
  return names;
}

}  // namespace offramp
