#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "workflow/calibrate.h"

namespace offramp::cli {

/// The result of `offramp calibrate`, as JSON and as text.
nlohmann::ordered_json to_json(const workflow::CalibrateOptions& options,
                               const workflow::Calibration& result);
std::string to_json_text(const workflow::CalibrateOptions& options,
                         const workflow::Calibration& result);
std::string to_text(const workflow::CalibrateOptions& options, const workflow::Calibration& result,
                    bool color);

}  // namespace offramp::cli
