#pragma once

#include <string>

#include "workflow/calibrate.h"

namespace offramp::cli {

/// What was chosen, as JSON for programs and as text for people.
std::string to_json_text(const CalibrateFlags& flags, const Calibration& result);
std::string to_text(const CalibrateFlags& flags, const Calibration& result, bool color);

}  // namespace offramp::cli
