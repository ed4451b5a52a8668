#pragma once

#include <functional>
#include <string>
#include <vector>

#include "model/model_file.h"

namespace offramp::model {

/// Returns a hash of everything on which a certificate rests: the Graph, the names of the classes,
/// the weights (with their names), the ranges of 8-bit activations, the preprocessing, and the
/// policy's criterion, ensemble, thresholds and temperatures. A certificate stores it, so that it
/// is not in force in a file where one of them was changed. The hash detects damage and a missing
/// calibration. It is no signature: a person who changes the file on purpose can compute it again.
/// @param values_of  the values of a parameter of the graph, row-major: 8-bit weights times their
/// scales
/// @return 16 hexadecimal digits
std::string certified_hash(
    const ModelFile& model,
    const std::function<std::vector<float>(const std::string& parameter)>& values_of);

/// The same for a model that holds its weights in memory.
std::string certified_hash(const ModelFile& model);

}  // namespace offramp::model
