#pragma once

#include <string>

#include "workflow/quantize.h"

namespace offramp::cli {

/// The result of `offramp quantize`, the file and the loss of accuracy, as JSON and as text.
std::string to_json_text(const workflow::QuantizeOptions& options,
                         const workflow::Quantized& result);
std::string to_text(const workflow::QuantizeOptions& options, const workflow::Quantized& result,
                    bool color);

}  // namespace offramp::cli
