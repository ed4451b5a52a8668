#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace offramp::core {

/// Removes the next character from the front of `text`, which must not be empty, and returns it. If
/// the text does not begin with a valid UTF-8 character, removes one byte and returns U+FFFD.
char32_t take_character(std::string_view& text);
/// Appends a character to a text in UTF-8.
void append_character(std::string& text, char32_t code);

/// Whether a character may be shown on a terminal or a page. Control characters, separators of
/// lines and marks that change the direction of text may not: they could hide or change what
/// follows them. U+FFFD may.
bool is_printable(char32_t code);
/// Whether a text is valid UTF-8 and has only printable characters.
bool is_printable(std::string_view text);
/// Replaces every character that may not be shown, and every byte that is not UTF-8, by a visible
/// sign. The result is one line of valid UTF-8. All text from files, flags and networks that is
/// shown to people passes through this function or through quote().
std::string printable(std::string_view text);

/// Formats a number with commas between thousands: 555422720 gives "555,422,720".
std::string with_commas(std::int64_t value);

/// Formats a size in units of 10^6 bytes: 16123456 gives "16.1 MB".
std::string megabytes(std::int64_t bytes);

/// Formats a time: "7 s", "2 min 5 s" or "3 h 20 min".
std::string duration_text(double seconds);

/// Returns the end of a message about an unknown word: "; did you mean "epochs"?", or "" if the
/// word is not a typing error of a known one.
std::string suggestion(std::string_view word, const std::vector<std::string>& known);

/// Returns the message "unknown head "conv_spp"; did you mean "conv-spp"?". If no known name is
/// near, the message lists all of them instead of suggesting one.
/// @param what  the kind of thing that has these names, such as "head"
std::string unknown_name(std::string_view what, std::string_view name,
                         const std::vector<std::string>& known);

/// Returns the value with the name `wanted`.
/// @param entries  pairs of a value and its name
/// @throws UsageError unknown_name() if there is none
template <typename Entries>
auto find_by_name(const Entries& entries, std::string_view what, std::string_view wanted) {
  std::vector<std::string> known;
  for (const auto& [value, name] : entries) {
    if (name == wanted) return value;
    known.emplace_back(name);
  }
  throw UsageError(unknown_name(what, wanted, known));
}

}  // namespace offramp::core
