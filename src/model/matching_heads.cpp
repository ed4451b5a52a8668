#include "model/matching_heads.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace offramp::model {
namespace {

// The parameters of each head, by the node that the head reads.
using Heads = std::map<std::string, std::vector<graph::Parameter>>;

Heads heads_of(const graph::Graph& graph) {
  Heads heads;
  for (const graph::Parameter& parameter : graph::parameters(graph))
    if (parameter.in_head)
      heads[graph.segments[static_cast<std::size_t>(parameter.segment)].feature].push_back(
          parameter);
  return heads;
}

/// Returns "fc.weight" for "exits.2.fc.weight" and for "classifier.fc.weight", as the last head of
/// a truncated network is called.
std::string_view name_in_head(std::string_view name) {
  constexpr std::string_view kExit = "exits.", kClassifier = "classifier.";
  if (name.starts_with(kClassifier)) return name.substr(kClassifier.size());
  if (!name.starts_with(kExit)) return name;
  return name.substr(name.find('.', kExit.size()) + 1);
}

bool fits(const graph::Parameter& ours, const graph::Parameter& theirs) {
  if (name_in_head(ours.name) != name_in_head(theirs.name) || ours.role != theirs.role ||
      ours.shape.size() != theirs.shape.size())
    return false;
  // The first dimension of a classifier is the number of classes, which may differ.
  const bool classifier =
      ours.role == graph::ParameterRole::linear_weight || ours.role == graph::ParameterRole::bias;
  return std::equal(ours.shape.begin() + classifier, ours.shape.end(),
                    theirs.shape.begin() + classifier);
}

}  // namespace

std::map<std::string, std::string> matching_heads(const graph::Graph& graph,
                                                  const graph::Graph& theirs) {
  std::map<std::string, std::string> names;
  const Heads others = heads_of(theirs);
  for (const auto& [feature, ours] : heads_of(graph)) {
    const auto other = others.find(feature);
    if (other == others.end() || !std::ranges::equal(ours, other->second, fits)) continue;
    for (std::size_t i = 0; i < ours.size(); ++i) names[ours[i].name] = other->second[i].name;
  }
  return names;
}

std::set<std::string, std::less<>> parameters_after_end(const graph::Graph& graph,
                                                        const graph::Graph& theirs) {
  std::set<std::string, std::less<>> nodes, names;
  const std::string& end = graph.segments.back().feature;
  bool beyond = false;
  for (const graph::Segment& segment : theirs.segments)
    for (const graph::Node& node : segment.nodes) {
      if (beyond) nodes.insert(node.name);
      beyond |= node.name == end;
    }
  for (const graph::Parameter& parameter : graph::parameters(theirs))
    if (!parameter.in_head && nodes.contains(parameter.name.substr(0, parameter.name.rfind('.'))))
      names.insert(parameter.name);
  return names;
}

}  // namespace offramp::model
