#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "serve/budget.h"

namespace offramp::serve {

using Json = nlohmann::ordered_json;  ///< of answers: keys stay in the order they were set
using RequestJson = nlohmann::json;   ///< of requests: a key is found in logarithmic time

/// `text` as a JSON string, in quotes; bytes that are not UTF-8 are replaced.
std::string json_string(std::string_view text);

/// `value` on one line, with its line end; bytes that are not UTF-8 are replaced.
std::string json_line(const Json& value);

/// The JSON of a request, and the memory that is counted for it.
struct ParsedJson {
  Reservation memory;
  RequestJson json;  // is destroyed first
};

/// Parses the JSON of a request: an object, nested at most 16 deep, in which no object has a key
/// twice or more than 1000 keys. Its memory, which may be 50 times its length, is taken from the
/// budget before it is allocated.
/// @param budget  null: it is not counted
/// @throws HttpError 400, 413 "request: what is wrong", 503 if the budget has no room
ParsedJson parse_request_json(std::string_view text, std::shared_ptr<Budget> budget);

/// Longest JSON text of a request; tensors that need more are sent as binary data.
inline constexpr std::size_t kMaxJsonBytes = std::size_t{4} << 20;

}  // namespace offramp::serve
