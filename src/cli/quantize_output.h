#pragma once

#include <string>

#include "workflow/quantize.h"

namespace offramp::cli {

/// What was written and what it costs, as JSON for programs and as text for people.
std::string to_json_text(const workflow::QuantizeOptions& options,
                         const workflow::Quantized& result);
std::string to_text(const workflow::QuantizeOptions& options, const workflow::Quantized& result,
                    bool color);

}  // namespace offramp::cli
