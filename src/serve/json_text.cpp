#include "serve/json_text.h"

#include <fmt/format.h>

#include <set>
#include <vector>

#include "serve/http.h"

namespace offramp::serve {
namespace {

constexpr int kMaxDepth = 16;

}  // namespace

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[i + k]); };
    const unsigned first = byte(0);
    const std::size_t length = first < 0x80   ? 1
                               : first < 0xc2 ? 0
                               : first < 0xe0 ? 2
                               : first < 0xf0 ? 3
                               : first < 0xf5 ? 4
                                              : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k)
      if ((byte(k) & 0xc0u) != 0x80u) return false;
    if (length == 3 && ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)))
      return false;
    if (length == 4 && ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)))
      return false;
    i += length;
  }
  return true;
}

std::string json_string(std::string_view text) { return json_line(Json(std::string(text))); }

std::string json_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

RequestJson parse_request_json(std::string_view text) {
  if (text.size() > kMaxJsonBytes)
    throw HttpError(413, fmt::format("request: {} bytes of JSON, but the limit is {}; send tensors "
                                     "as binary data (Inference-Header-Content-Length)",
                                     text.size(), kMaxJsonBytes));
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, RequestJson::parse_event_t event, const RequestJson& value) {
    if (depth > kMaxDepth)
      throw HttpError(400, fmt::format("request: JSON is nested deeper than {}", kMaxDepth));
    if (event == RequestJson::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == RequestJson::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == RequestJson::parse_event_t::key) {
      if (!keys.back().insert(value.get<std::string>()).second)
        throw HttpError(400, fmt::format("request: the key {} is given twice",
                                         json_string(value.get<std::string>())));
    }
    return true;
  };
  RequestJson json;
  try {
    json = RequestJson::parse(text, check);
  } catch (const RequestJson::exception&) {
    throw HttpError(400, "request: the body is not valid JSON");
  }
  if (!json.is_object()) throw HttpError(400, "request: expected a JSON object");
  return json;
}

}  // namespace offramp::serve
