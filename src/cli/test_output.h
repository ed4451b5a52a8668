#pragma once

#include <string>

#include "workflow/model_evaluation.h"

namespace offramp::cli {

/// The result of `offramp test`, as JSON and as text.
std::string to_json_text(const workflow::EvaluateOptions& options,
                         const workflow::Evaluation& result);
std::string to_text(const workflow::EvaluateOptions& options, const workflow::Evaluation& result,
                    bool color);

}  // namespace offramp::cli
