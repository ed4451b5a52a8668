#pragma once

#include <string>

namespace offramp::cli {

/// "31 % of the images leave elsewhere than …": for people, where there is a drift.
/// @param distance  share of the images that leave elsewhere  @param p_value  of the test
std::string drift_text(double distance, double p_value);

}  // namespace offramp::cli
