#pragma once

#include <string>

#include "workflow/model_info.h"

namespace offramp::cli {

/// A network's cost and exits as JSON for programs, and with its layers as text for people.
std::string to_json_text(const workflow::ModelInfo& info);
/// @param path  of the model or recipe
std::string to_text(const std::string& path, const workflow::ModelInfo& info, bool color);

/// What a network is compiled to on this CPU.
std::string to_json_text(const workflow::CompiledLayers& table);
std::string to_text(const workflow::CompiledLayers& table, bool color);

}  // namespace offramp::cli
