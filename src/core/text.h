#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace offramp::core {

/// Formats a number with commas between thousands: 555422720 gives "555,422,720".
std::string with_commas(std::int64_t value);

/// Formats a size in units of 10^6 bytes: 16123456 gives "16.1 MB".
std::string megabytes(std::int64_t bytes);

/// Formats a time: "7 s", "2 min 5 s" or "3 h 20 min".
std::string duration_text(double seconds);

/// Returns the end of a message about an unknown word: "; did you mean "epochs"?", or "" if the
/// word is no typing error of a known one.
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
