#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/deployment.h"
#include "runtime/layout.h"
#include "runtime/lower.h"

namespace offramp {

/// The elements of every image of a network. What a pool or a concatenation joins has one scale.
/// @throws Error naming a tensor without a range, or one beyond kLeastMagnitude … kMostMagnitude
std::map<std::string, Element, std::less<>> quantised_elements(
    const std::vector<LoweredSegment>& network, const Ranges& ranges);

}  // namespace offramp
