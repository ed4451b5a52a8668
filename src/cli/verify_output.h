#pragma once

#include <string>

#include "workflow/verify.h"

namespace offramp::cli {

/// The result as a JSON object.
std::string to_json_text(const workflow::VerifyOptions& options,
                         const workflow::Verification& result);
/// The result as lines of text.
std::string to_text(const workflow::VerifyOptions& options, const workflow::Verification& result);

}  // namespace offramp::cli
