#include "model/json_reader.h"

#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace offramp::model {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{16} << 20;
constexpr int kMaxDepth = 32;
constexpr std::size_t kMaxKeys = 1000;

/// Formats a value for a message: numbers and texts in full, arrays and objects by their type.
std::string describe(const Json& json) {
  if (json.is_string()) return "the text " + core::quote(json.get_ref<const std::string&>());
  if (json.is_structured()) return json.is_array() ? "an array" : "an object";
  return json.dump();
}

std::string read_text(const Json& json, const std::string& place, std::size_t max_bytes) {
  if (!json.is_string())
    throw Error(fmt::format("{}: got {}, expected a text", place, describe(json)));
  const auto& text = json.get_ref<const std::string&>();
  if (text.size() > max_bytes)
    throw Error(fmt::format("{}: text of {} bytes is longer than the {} allowed", place,
                            text.size(), max_bytes));
  return text;
}

std::int64_t read_integer(const Json& json, const std::string& place, std::int64_t low,
                          std::int64_t high) {
  const bool fits = json.is_number_unsigned()
                        ? json.get<std::uint64_t>() <=
                              static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())
                        : json.is_number_integer();
  if (!fits || json.get<std::int64_t>() < low || json.get<std::int64_t>() > high)
    throw Error(fmt::format("{}: got {}, expected an integer from {} to {}", place, describe(json),
                            low, high));
  return json.get<std::int64_t>();
}

double read_number(const Json& json, const std::string& place, double low, double high) {
  if (!json.is_number() || !(json.get<double>() >= low && json.get<double>() <= high))
    throw Error(fmt::format("{}: got {}, expected a number from {} to {}", place, describe(json),
                            low, high));
  return json.get<double>();
}

const Json& expect_array(const Json& json, const std::string& place, std::size_t max_count) {
  if (!json.is_array())
    throw Error(fmt::format("{}: got {}, expected an array", place, describe(json)));
  if (json.size() > max_count)
    throw Error(
        fmt::format("{}: {} elements are more than the {} allowed", place, json.size(), max_count));
  return json;
}

}  // namespace

Json parse_json(std::string_view text) {
  if (text.size() > kMaxBytes)
    throw Error(
        fmt::format("text of {} bytes is longer than the {} allowed", text.size(), kMaxBytes));
  if (text.find('\0') != text.npos) throw Error("not valid JSON: zero byte");
  std::vector<std::set<std::string>> keys;  // keys of each enclosing object
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) throw Error(fmt::format("nested more than {} levels deep", kMaxDepth));
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event != Json::parse_event_t::key) return true;
    // Looking up a key in an ordered object takes linear time, so very many keys would take hours.
    if (keys.back().size() == kMaxKeys)
      throw Error(fmt::format("an object of more than {} keys", kMaxKeys));
    if (!keys.back().insert(parsed.get_ref<const std::string&>()).second)
      throw Error(
          fmt::format("key {} appears twice", core::quote(parsed.get_ref<const std::string&>())));
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::parse_error& error) {
    throw Error(fmt::format("not valid JSON at byte {}", error.byte));
  } catch (const Json::exception&) {
    throw Error("not valid JSON: a number is too large");
  }
}

JsonFields::JsonFields(const Json& json, std::string place)
    : json_(json), place_(std::move(place)) {
  if (!json.is_object())
    throw Error(fmt::format("{}: got {}, expected an object", place_.empty() ? "the text" : place_,
                            describe(json)));
}

std::string JsonFields::place_of(std::string_view key) const {
  return place_.empty() ? std::string(key) : fmt::format("{}.{}", place_, key);
}

std::string JsonFields::place_of(std::string_view key, std::size_t index) const {
  return fmt::format("{}[{}]", place_of(key), index);
}

const Json& JsonFields::field(std::string_view key) {
  known_.emplace(key);
  const auto found = json_.find(std::string(key));
  if (found == json_.end()) throw Error(fmt::format("{} is missing", place_of(key)));
  return *found;
}

std::string JsonFields::text(std::string_view key, std::size_t max_bytes) {
  return read_text(field(key), place_of(key), max_bytes);
}

std::int64_t JsonFields::integer(std::string_view key, std::int64_t low, std::int64_t high) {
  return read_integer(field(key), place_of(key), low, high);
}

double JsonFields::number(std::string_view key, double low, double high) {
  return read_number(field(key), place_of(key), low, high);
}

bool JsonFields::boolean(std::string_view key) {
  const Json& json = field(key);
  if (!json.is_boolean())
    throw Error(fmt::format("{}: got {}, expected true or false", place_of(key), describe(json)));
  return json.get<bool>();
}

std::vector<std::int64_t> JsonFields::integers(std::string_view key, std::int64_t low,
                                               std::int64_t high, std::size_t max_count) {
  const Json& json = array(key, max_count);
  std::vector<std::int64_t> values;
  for (std::size_t i = 0; i < json.size(); ++i)
    values.push_back(read_integer(json[i], place_of(key, i), low, high));
  return values;
}

std::vector<double> JsonFields::numbers(std::string_view key, double low, double high,
                                        std::size_t max_count) {
  const Json& json = array(key, max_count);
  std::vector<double> values;
  for (std::size_t i = 0; i < json.size(); ++i)
    values.push_back(read_number(json[i], place_of(key, i), low, high));
  return values;
}

std::vector<std::string> JsonFields::texts(std::string_view key, std::size_t max_count) {
  return read_texts(field(key), place_of(key), max_count);
}

const Json& JsonFields::array(std::string_view key, std::size_t max_count) {
  return expect_array(field(key), place_of(key), max_count);
}

const Json& JsonFields::object(std::string_view key) {
  const Json& json = field(key);
  if (!json.is_object())
    throw Error(fmt::format("{}: got {}, expected an object", place_of(key), describe(json)));
  return json;
}

const Json* JsonFields::object_or_null(std::string_view key) {
  return field(key).is_null() ? nullptr : &object(key);
}

void JsonFields::finish() const {
  for (const auto& [key, value] : json_.items()) {
    if (known_.contains(key)) continue;
    throw Error(fmt::format("{}unknown key {}{}", place_.empty() ? "" : place_ + ": ",
                            core::quote(key),
                            core::suggestion(key, {known_.begin(), known_.end()})));
  }
}

std::vector<std::string> read_texts(const Json& json, const std::string& place,
                                    std::size_t max_count, std::size_t max_bytes) {
  expect_array(json, place, max_count);
  std::vector<std::string> values;
  for (std::size_t i = 0; i < json.size(); ++i)
    values.push_back(read_text(json[i], fmt::format("{}[{}]", place, i), max_bytes));
  return values;
}

}  // namespace offramp::model
