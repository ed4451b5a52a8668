#pragma once

#include <string>

#include "runtime/compiled_table.h"

namespace offramp::cli {

/// What a network was compiled to, of `offramp info --compiled`.
std::string to_json_text(const CompiledTable& table);
std::string to_text(const CompiledTable& table, bool color);

}  // namespace offramp::cli
