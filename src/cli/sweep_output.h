#pragma once

#include <string>
#include <vector>

#include "workflow/model_evaluation.h"

namespace offramp::cli {

/// @throws UsageError unless every name ends in .json or .csv
void check_sweep_names(const std::vector<std::string>& files);

/// Writes the sweep of a result as JSON or CSV, by each file's ending.
void write_sweep(const std::vector<std::string>& files, const workflow::EvaluateOptions& options,
                 const workflow::Evaluation& result);

}  // namespace offramp::cli
