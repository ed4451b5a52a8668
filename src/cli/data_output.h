#pragma once

#include <string>
#include <vector>

#include "workflow/data_set.h"

namespace offramp::cli {

/// One line that describes the file `offramp data import` wrote.
std::string imported_text(const std::string& output, const workflow::DataParts& parts);

/// One line with the reason for each of the first skipped images, and a last line with the number
/// of the others.
std::string skipped_text(const std::vector<data::SkippedImage>& skipped);

/// The counts, sizes and statistics of a data set, as JSON and as text.
std::string to_json_text(const workflow::DataSummary& summary);
std::string to_text(const workflow::DataSummary& summary, bool color);

}  // namespace offramp::cli
