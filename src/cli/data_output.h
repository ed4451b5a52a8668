#pragma once

#include <string>
#include <vector>

#include "workflow/data_set.h"

namespace offramp::cli {

/// What `data import` wrote, one line.
std::string imported_text(const std::string& output, const workflow::DataParts& parts);

/// The first of the skipped images with the reason, a line each, and how many more there are.
std::string skipped_text(const std::vector<SkippedImage>& skipped);

/// What a data set holds, as JSON for programs and as text for people.
std::string to_json_text(const workflow::DataSummary& summary);
std::string to_text(const workflow::DataSummary& summary, bool color);

}  // namespace offramp::cli
