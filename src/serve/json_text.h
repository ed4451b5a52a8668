#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "serve/budget.h"

namespace offramp::serve {

/// For answers: keys stay in the order in which they were set.
using Json = nlohmann::ordered_json;
using RequestJson = nlohmann::json;  ///< for requests: a key is found in logarithmic time

/// Returns `text` as a JSON string, in quotes. Bytes that are not UTF-8 are replaced.
std::string json_string(std::string_view text);

/// Returns `value` on one line that ends in a newline. Bytes that are not UTF-8 are replaced.
std::string json_line(const Json& value);

/// The JSON of a request, and the reservation of its memory.
struct ParsedJson {
  Reservation memory;
  RequestJson json;  // declared last, so that it is destroyed first
};

/// Parses the JSON of a request: an object, nested at most 16 deep, in which no object has a key
/// twice or more than 1000 keys. Its memory, up to 50 times its length, is reserved from the budget
/// before it is allocated.
/// @param budget  null: memory is not counted
/// @throws HttpError 400, 413 "request: what is wrong", 503 if the budget has no room
ParsedJson parse_request_json(std::string_view text, std::shared_ptr<Budget> budget);

/// The largest length of the JSON of a request. Tensors that need more are sent as binary data.
inline constexpr std::size_t kMaxJsonBytes = std::size_t{4} << 20;

}  // namespace offramp::serve
