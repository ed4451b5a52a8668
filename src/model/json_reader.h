#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace offramp {

/// Keeps keys in the order they were written, for the people who read them.
using Json = nlohmann::ordered_json;

/// Parses JSON text from a file of unknown origin: no repeated key, at most 1000 keys an
/// object, 32 levels deep and 16 MiB long. @throws Error saying what is wrong and where
Json parse_json(std::string_view text);

/// Reads the fields of a JSON object strictly: each must be there and of its type and range, and
/// none may be left over. Messages name the field by its place in the whole text,
/// "segments[0].nodes[3].kernel".
class JsonFields {
 public:
  /// @param place  of the object, empty for the whole text
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
  /// An array whose elements the caller reads, each at place_of(key, index).
  const Json& array(std::string_view key, std::size_t max_count);
  const Json& object(std::string_view key);
  /// nullptr where the file says null.
  const Json* object_or_null(std::string_view key);

  /// Whether the field is there and null.
  bool is_null(std::string_view key) { return field(key).is_null(); }

  /// For fields that may be left out: whether this one is there.
  bool has(std::string_view key) const { return json_.contains(key); }

  std::string place_of(std::string_view key) const;
  std::string place_of(std::string_view key, std::size_t index) const;

  /// Refuses fields that nothing has asked for. Call it last.
  void finish() const;

 private:
  const Json& field(std::string_view key);

  const Json& json_;
  std::string place_;
  std::set<std::string, std::less<>> known_;
};

/// A JSON array of texts that stands for itself (class names). @throws Error naming the element
std::vector<std::string> read_texts(const Json& json, const std::string& place,
                                    std::size_t max_count, std::size_t max_bytes = 200);

}  // namespace offramp
