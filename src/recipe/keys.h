#pragma once

#include <toml++/toml.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "recipe/recipe.h"

namespace offramp::recipe {

/// The kind of a key's value. On a command line the quotes of a text and the brackets of a list may
/// be left out.
enum class ValueKind { plain, text, list, text_list };

/// One key of a recipe, which is written as `name = value` in a table `[table]`. The list of all
/// keys defines the recipe format: reading, overriding, writing and suggestions all use it.
struct Key {
  std::string table;  ///< for example "train"
  std::string name;   ///< for example "epochs"
  ValueKind value_kind = ValueKind::plain;
  /// Sets the recipe's field from a TOML value.
  /// @throws UsageError without the key's name: `expected a whole number from 1 to 100000, got "x"`
  std::function<void(Recipe&, const toml::node&)> read;
  /// Returns the recipe's field as a TOML value.
  std::function<std::string(const Recipe&)> write;

  std::string full_name() const { return table + "." + name; }
};

/// Returns all keys, grouped by table, in the order in which they are read and written.
const std::vector<Key>& keys();

/// Returns `text` as a TOML string with quotes and escapes.
std::string toml_string(std::string_view text);

}  // namespace offramp::recipe
