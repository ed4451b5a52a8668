#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace offramp::model {

/// JSON whose keys keep the order in which they were written, so that files are easy to read.
using Json = nlohmann::ordered_json;

/// Parses JSON text from an untrusted file. The text may have at most 16 MiB, 32 levels of nesting
/// and 1000 keys per object, and no repeated key. @throws Error saying what is wrong and where
Json parse_json(std::string_view text);

/// Reads the fields of a JSON object strictly: each field must be present and have the right type
/// and range, and unknown fields are errors. Messages name a field by its place in the whole text,
/// such as "segments[0].nodes[3].kernel".
class JsonFields {
 public:
  /// @param place  place of the object in the text, empty for the outermost object
  /// @throws Error if `json` is not an object
  JsonFields(const Json& json, std::string place);

  std::string text(std::string_view key, std::size_t max_bytes = 200);
  std::int64_t integer(std::string_view key, std::int64_t low, std::int64_t high);
  double number(std::string_view key, double low, double high);
  bool boolean(std::string_view key);
  std::vector<std::int64_t> integers(std::string_view key, std::int64_t low, std::int64_t high,
                                     std::size_t max_count);
  std::vector<double> numbers(std::string_view key, double low, double high, std::size_t max_count);
  std::vector<std::string> texts(std::string_view key, std::size_t max_count);
  /// Returns an array whose elements the caller reads; the place of each is place_of(key, index).
  const Json& array(std::string_view key, std::size_t max_count);
  const Json& object(std::string_view key);
  /// Returns the object, or nullptr if the value is null.
  const Json* object_or_null(std::string_view key);

  /// Whether the field has the value null. @throws Error if the field is missing
  bool is_null(std::string_view key) { return field(key).is_null(); }

  /// Whether the field is an array. @throws Error if the field is missing
  bool is_array(std::string_view key) { return field(key).is_array(); }

  /// Whether an optional field is present.
  bool has(std::string_view key) const { return json_.contains(key); }

  std::string place_of(std::string_view key) const;
  std::string place_of(std::string_view key, std::size_t index) const;

  /// Checks that no unread field is left. Call it last. @throws Error naming an unknown field
  void finish() const;

 private:
  const Json& field(std::string_view key);

  const Json& json_;
  std::string place_;
  std::set<std::string, std::less<>> known_;
};

/// Reads an outermost JSON array of texts, such as the class names. @throws Error naming the
/// element
std::vector<std::string> read_texts(const Json& json, const std::string& place,
                                    std::size_t max_count, std::size_t max_bytes = 200);

}  // namespace offramp::model
