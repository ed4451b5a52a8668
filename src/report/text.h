#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "eval/metrics.h"

namespace offramp::report {

/// Makes a string from outside, such as a class name, safe to show: one line of valid UTF-8, in
/// which visible signs replace control characters, changes of direction and invalid bytes. The
/// result is not escaped.
std::string clean(std::string_view text);
/// clean(), with & < > " ' replaced by character references, so that the result can stand in an
/// element and in a quoted attribute.
std::string escape(std::string_view text);
/// The same, but line ends and tabs stay as they are, for recipes.
std::string escape_lines(std::string_view text);

/// Width of a text in columns. East Asian wide characters and emoji take two.
/// @param text  a result of clean()
int columns(std::string_view text);
/// clean(), shortened to at most `most` columns. A shortened text ends in "…".
std::string shorten(std::string_view text, int most);

// Numbers for people: with a true minus sign, "–" for a value that is not finite, and a no-break
// space before the unit.

std::string fixed(double value, int decimals);
/// With its sign: "+0.31", "−0.31", "0.00".
std::string signed_fixed(double value, int decimals);
/// "88.1 %"
std::string percent(double rate, int decimals);
/// "87.5 … 88.7 %"
std::string percent(const eval::Interval& rates, int decimals);
/// A difference of rates in percentage points: "−0.3", "−0.7 … +0.1".
std::string points(double difference, int decimals);
std::string points(const eval::Interval& differences, int decimals);
/// "10,000"
std::string count(std::int64_t n);
/// "1 image", "10,000 images"
std::string count(std::int64_t n, std::string_view noun);

std::string base64(std::span<const std::byte> bytes);

}  // namespace offramp::report
