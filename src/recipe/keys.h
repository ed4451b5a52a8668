#pragma once

#include <toml++/toml.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "recipe/recipe.h"

namespace offramp {

/// How a value is spelled on a command line, where TOML's quotes and brackets may be left out.
enum class Spelling { plain, text, list, text_list };

/// One key of a recipe: what `[table] name = value` sets. The list of all keys is the recipe
/// format: reading, overriding, writing and suggesting all go through it.
struct Key {
  std::string table;  ///< "train"
  std::string name;   ///< "epochs"
  Spelling spelling = Spelling::plain;
  /// Sets the field. @throws UsageError "expected a whole number from 1 to 100000, got "x""
  std::function<void(Recipe&, const toml::node&)> read;
  /// The field as a TOML value.
  std::function<std::string(const Recipe&)> write;

  std::string full_name() const { return table + "." + name; }
};

/// All keys, table by table, in the order in which they are read and written.
const std::vector<Key>& keys();

/// `text` as a TOML string, quoted and escaped.
std::string toml_string(std::string_view text);

}  // namespace offramp
