#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/deployment.h"
#include "runtime/layout.h"
#include "runtime/lower.h"

namespace offramp::runtime {

/// Chooses the elements of every image tensor of a network from its range. The inputs and the
/// output of a pool, a concatenation, a slice or a shuffle get one common scale.
/// @throws Error naming a tensor without a range, or one beyond kMinMagnitude … kMaxMagnitude
std::map<std::string, Element, std::less<>> quantised_elements(
    const std::vector<LoweredSegment>& network, const model::ActivationRanges& ranges);

}  // namespace offramp::runtime
