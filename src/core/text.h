#pragma once

#include <cstdint>
#include <string>
#include <string_view>

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

}  // namespace offramp::core
