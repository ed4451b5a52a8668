#pragma once

#include <string>
#include <vector>

#include "workflow/model_evaluation.h"

namespace offramp::cli {

/// Checks the file names given to --sweep.
/// @throws UsageError unless every name ends in .json or .csv
void check_sweep_names(const std::vector<std::string>& files);

/// Writes the sweep of an evaluation to each file, as JSON or CSV by the ending of its name.
void write_sweep(const std::vector<std::string>& files, const workflow::EvaluateOptions& options,
                 const workflow::Evaluation& result);

}  // namespace offramp::cli
