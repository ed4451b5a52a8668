#pragma once

#include <string>

#include "workflow/model_info.h"

namespace offramp::cli {

/// The cost and exits of a network, as JSON; the text also lists its layers.
std::string to_json_text(const workflow::ModelInfo& info);
/// @param path  the model file or recipe, for the heading
std::string to_text(const std::string& path, const workflow::ModelInfo& info, bool color);

/// The operations that a network is compiled to on this CPU, as JSON and as text.
std::string to_json_text(const workflow::CompiledLayers& table);
std::string to_text(const workflow::CompiledLayers& table, bool color);

}  // namespace offramp::cli
