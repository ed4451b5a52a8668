#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "report/exit_places.h"
#include "workflow/calibrate.h"
#include "workflow/place_exits.h"

namespace offramp::cli {

/// The request to `offramp exits` and its result.
struct ExitsResult {
  std::string model, data;  ///< the paths as they were given
  std::filesystem::path written_to;
  policy::Aim aim;
  bool label_free = false;
  int joint_epochs = 0;     ///< 0: only the heads were trained
  double head_seconds = 0;  ///< time in which the heads were trained
  workflow::ExitPlacement placement;
  std::optional<workflow::Calibration> calibration;  ///< no value: no early exit was chosen
};

/// The result as JSON text that ends in a newline.
std::string to_json_text(const ExitsResult& result);
/// The result for people. @param color  whether colours may be used
std::string to_text(const ExitsResult& result, bool color);
/// The content of the page, see report::exit_places_html().
report::ExitPlacesInput to_page(const ExitsResult& result);

}  // namespace offramp::cli
