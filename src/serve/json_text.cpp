#include "serve/json_text.h"

#include <fmt/format.h>

#include <unordered_set>
#include <vector>

#include "core/json_text.h"
#include "serve/http.h"

namespace offramp::serve {
namespace {

constexpr std::size_t kMaxDepth = 16;

/// Refuses JSON that is nested too deeply or gives a key of an object twice.
class Checker : public nlohmann::json_sax<RequestJson> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      throw HttpError(400, fmt::format("request: the key {} is given twice", json_string(name)));
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  bool enter() {
    if (keys_.size() == kMaxDepth)
      throw HttpError(400, fmt::format("request: JSON is nested deeper than {}", kMaxDepth));
    keys_.emplace_back();
    return true;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::unordered_set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

std::string json_string(std::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string json_line(const Json& value) { return core::json_text(value, -1); }

RequestJson parse_request_json(std::string_view text) {
  if (text.size() > kMaxJsonBytes)
    throw HttpError(413, fmt::format("request: {} bytes of JSON, but the limit is {}; send tensors "
                                     "as binary data (Inference-Header-Content-Length)",
                                     text.size(), kMaxJsonBytes));
  // A first pass refuses what the parser would accept. (Its callbacks could do so too, but take
  // time quadratic in the length of an array of objects.)
  Checker checker;
  if (!RequestJson::sax_parse(text, &checker))
    throw HttpError(400, "request: the body is not valid JSON");
  RequestJson json;
  try {
    json = RequestJson::parse(text);
  } catch (const RequestJson::exception&) {
    throw HttpError(400, "request: the body is not valid JSON");
  }
  if (!json.is_object()) throw HttpError(400, "request: expected a JSON object");
  return json;
}

}  // namespace offramp::serve
