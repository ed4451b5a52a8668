#pragma once

#include <string>

namespace offramp::core {

/// Formats JSON as text that ends with a newline. Bytes that are not UTF-8 are replaced.
/// @param indent  spaces for each level; -1: everything on one line
template <typename Json>
std::string json_text(const Json& json, int indent = 2) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace offramp::core
