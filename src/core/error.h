#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "offramp/error.h"  // Error and UsageError

namespace offramp {

namespace detail {
/// The format of an Error's message, checked against its values by the compiler.
template <typename... Args>
struct Format {
  template <typename Text>
  consteval Format(const Text& text) : format(text) {}  // implicit, as fmt's
  std::string message(Args&&... args) const {
    return fmt::format(format, std::forward<Args>(args)...);
  }
  fmt::format_string<Args...> format;
};
}  // namespace detail

/// Throws the current exception's Error again with `place` ("file", "file:line") before its text;
/// UsageError stays UsageError. Call it from a catch block.
[[noreturn]] void throw_with_place(std::string_view place, const Error& error);

/// The candidate nearest to `word` by edit distance; empty if none is near enough to be a typo.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

/// Text from a file or a flag, as a message quotes it: in double quotes, control characters escaped
/// so that the message stays one line, long text cut.
std::string quote(std::string_view text);

namespace detail {
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);
}

}  // namespace offramp

// Checks for our own bugs, never for input. Kept in builds with OFFRAMP_ASSERTS.
#if defined(OFFRAMP_ASSERTS) || !defined(NDEBUG)
#define OFFRAMP_ASSERT(condition) \
  ((condition) ? void(0) : ::offramp::detail::assertion_failed(#condition, __FILE__, __LINE__))
#else
#define OFFRAMP_ASSERT(condition) void(0)
#endif
