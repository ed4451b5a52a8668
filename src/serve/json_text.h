#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace offramp::serve {

using Json = nlohmann::ordered_json;  ///< of answers: keys stay in the order they were set
using RequestJson = nlohmann::json;   ///< of requests: a key is found in logarithmic time

/// `text` as a JSON string, in quotes; bytes that are not UTF-8 are replaced.
std::string json_string(std::string_view text);

/// `value` on one line, with its line end; bytes that are not UTF-8 are replaced.
std::string json_line(const Json& value);

/// Parses the JSON of a request: an object, nested at most 16 deep, in which no object has a key
/// twice.
/// @throws HttpError 400, 413 "request: what is wrong"
RequestJson parse_request_json(std::string_view text);

/// Longest JSON text of a request; tensors that need more are sent as binary data.
inline constexpr std::size_t kMaxJsonBytes = std::size_t{4} << 20;

}  // namespace offramp::serve
