#pragma once

#include <string>

namespace offramp::cli {

/// A warning that the images stop at other exits than the images the policy was chosen on.
/// @param distance  total variation distance between the two distributions over exits, in [0, 1]
/// @param p_value   p value of the test that both are equal
std::string drift_text(double distance, double p_value);

}  // namespace offramp::cli
