#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "graph/graph.h"

namespace offramp {

/// Which heads of another network can be a start for those of `graph`: those after the same node
/// and with the same parameters, but for the number of classes. A head fits whole or not at all;
/// the exits' numbers may differ.
/// @return by name of a parameter of `graph`, that of `theirs`
std::map<std::string, std::string> matching_heads(const Graph& graph, const Graph& theirs);

/// The backbone's parameters in `theirs` that come after the node at which `graph` ends: what a
/// truncated network does not have.
std::set<std::string, std::less<>> beyond_the_end(const Graph& graph, const Graph& theirs);

}  // namespace offramp
