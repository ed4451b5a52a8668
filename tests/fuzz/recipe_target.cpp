#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/error.h"
#include "recipe/recipe.h"

// Any bytes are either read as a recipe or refused with an Error of one line. A recipe that was
// read is written and read again, which must give the same text. If the text before its first zero
// byte names a key, the rest also overrides that key, as --set does.

namespace {

using namespace offramp;

bool is_one_line(const Error& error) {
  return *error.what() != '\0' && std::strchr(error.what(), '\n') == nullptr;
}

void check_round_trip(const recipe::Recipe& read) {
  const std::string text = recipe::to_toml(read);
  if (recipe::to_toml(recipe::parse_recipe(text, "again.toml")) != text) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const recipe::Recipe read = recipe::parse_recipe(text, "recipe.toml");
    check_round_trip(read);
    recipe::check(read);
  } catch (const Error& error) {
    if (!is_one_line(error)) std::abort();
  }
  const std::size_t end = text.find('\0');
  if (end == text.npos) return 0;
  try {
    recipe::Recipe changed;
    recipe::set_key(changed, text.substr(0, end), text.substr(end + 1));
    check_round_trip(changed);
  } catch (const Error& error) {
    if (!is_one_line(error)) std::abort();
  }
  return 0;
}
