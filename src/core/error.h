#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "offramp/error.h"  // Error and UsageError

namespace offramp::core {

/// Throws an error whose message is `place` ("file" or "file:line"), a colon and the message of
/// `error`. A UsageError stays a UsageError. It must be called from the catch block of `error`.
[[noreturn]] void throw_with_place(std::string_view place, const Error& error);

/// Returns the candidate with the smallest edit distance to `word`, or "" if every candidate
/// differs too much for `word` to be a typing error of it.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

/// Quotes text from a file or a flag for a message: puts it in double quotes, escapes control
/// characters, quotation marks and backslashes, and shortens long text. The result is one line.
std::string quote(std::string_view text);

namespace detail {
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);
}

}  // namespace offramp::core

// Ends the program if the condition is false. It checks for programming errors, never for invalid
// input, and only in debug builds and builds with OFFRAMP_ASSERTS.
#if defined(OFFRAMP_ASSERTS) || !defined(NDEBUG)
#define OFFRAMP_ASSERT(condition) \
  ((condition) ? void(0)          \
               : ::offramp::core::detail::assertion_failed(#condition, __FILE__, __LINE__))
#else
#define OFFRAMP_ASSERT(condition) void(0)
#endif
