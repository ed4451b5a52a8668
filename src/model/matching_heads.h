#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "graph/graph.h"

namespace offramp::model {

/// Finds the heads of another network whose weights can initialise heads of `graph`. Two heads
/// match if they read the same node and all their parameters have the same names and shapes, except
/// for the number of classes. The numbers of the exits may differ.
/// @return for the name of each parameter in a matching head of `graph`, its name in `theirs`
std::map<std::string, std::string> matching_heads(const graph::Graph& graph,
                                                  const graph::Graph& theirs);

/// Returns the names of the backbone's parameters in `theirs` that come after the node at which the
/// backbone of `graph` ends. A truncated network lacks these.
std::set<std::string, std::less<>> parameters_after_end(const graph::Graph& graph,
                                                        const graph::Graph& theirs);

}  // namespace offramp::model
