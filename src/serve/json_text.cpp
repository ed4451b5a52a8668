#include "serve/json_text.h"

#include <fmt/format.h>

#include <unordered_set>
#include <vector>

#include "core/json_text.h"
#include "serve/http.h"

namespace offramp::serve {
namespace {

constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxKeys = 1000;  // largest number of keys of an object

// Upper bounds on the memory, in bytes, of each part of the parsed form. A growing array holds its
// elements up to three times for a moment; the other bounds include the allocator's rounding.
constexpr std::size_t kValueBytes = 3 * sizeof(RequestJson);
constexpr std::size_t kContainerBytes = 64, kKeyBytes = 112, kStringBytes = 64;

/// Refuses JSON that is nested too deeply or whose objects have too many keys or one twice, and
/// counts the memory of its parsed form.
class Checker : public nlohmann::json_sax<RequestJson> {
 public:
  std::size_t bytes() const { return bytes_; }

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool number_float(number_float_t, const string_t&) override { return value(); }
  bool string(string_t& text) override {
    bytes_ += kStringBytes + 3 * text.size();
    return value();
  }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    bytes_ += kKeyBytes + 3 * name.size();
    if (keys_.back().size() == kMaxKeys)
      throw HttpError(400, fmt::format("request: an object has more than {} keys", kMaxKeys));
    if (!keys_.back().insert(name).second)
      throw HttpError(400, fmt::format("request: the key {} is given twice", json_string(name)));
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  bool value() {
    bytes_ += kValueBytes;
    return true;
  }
  bool enter() {
    bytes_ += kValueBytes + kContainerBytes;
    if (keys_.size() == kMaxDepth)
      throw HttpError(400, fmt::format("request: JSON is nested deeper than {}", kMaxDepth));
    keys_.emplace_back();
    return true;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::unordered_set<std::string>> keys_;  // keys of each enclosing object
  std::size_t bytes_ = 0;
};

}  // namespace

std::string json_string(std::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string json_line(const Json& value) { return core::json_text(value, -1); }

ParsedJson parse_request_json(std::string_view text, std::shared_ptr<Budget> budget) {
  if (text.size() > kMaxJsonBytes)
    throw HttpError(413, fmt::format("request: {} bytes of JSON, but the limit is {}; send tensors "
                                     "as binary data (Inference-Header-Content-Length)",
                                     text.size(), kMaxJsonBytes));
  // A first pass refuses what the parser would accept. (Its callbacks could do so too, but take
  // time quadratic in the length of an array of objects.)
  Checker checker;
  if (!RequestJson::sax_parse(text, &checker))
    throw HttpError(400, "request: the body is not valid JSON");
  ParsedJson parsed;
  parsed.memory = Reservation(std::move(budget));
  if (!parsed.memory.take(checker.bytes()))
    throw HttpError(503, "the server's memory for requests is full; try again later");
  try {
    parsed.json = RequestJson::parse(text);
  } catch (const RequestJson::exception&) {
    throw HttpError(400, "request: the body is not valid JSON");
  }
  if (!parsed.json.is_object()) throw HttpError(400, "request: expected a JSON object");
  return parsed;
}

}  // namespace offramp::serve
