#pragma once

#include <string>

namespace offramp::cli {

/// Formats JSON as indented text that ends with a newline. Bytes that are not UTF-8 are replaced.
/// @param indent  spaces for each level
template <typename Json>
std::string json_text(const Json& json, int indent = 2) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace offramp::cli
