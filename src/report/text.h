#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "eval/metrics.h"

namespace offramp::report {

/// Text from outside as the page shows it: valid UTF-8 of one line, what cannot be seen (control
/// characters, changes of direction, broken bytes) replaced by a sign that can. Not yet escaped.
std::string clean(std::string_view text);
/// clean(), ready for element content and quoted attributes: & < > " ' as character references.
std::string escape(std::string_view text);
/// escape(), but line ends and tabs stay (recipes).
std::string escape_lines(std::string_view text);

/// Width in columns; East Asian wide characters and emoji take two. @param text  clean()
int columns(std::string_view text);
/// clean() cut to at most `most` columns, the last of them "…" where something was cut.
std::string shorten(std::string_view text, int most);

// Numbers as people read them: a true minus sign, "–" for what is not a number, no break before
// the unit.

std::string fixed(double value, int decimals);
/// With its sign: "+0.31", "−0.31", "0.00".
std::string signed_fixed(double value, int decimals);
/// "88.1 %"
std::string percent(double rate, int decimals);
/// "87.5 … 88.7 %"
std::string percent(const Interval& rates, int decimals);
/// A difference of rates in percentage points: "−0.3", "−0.7 … +0.1".
std::string points(double difference, int decimals);
std::string points(const Interval& differences, int decimals);
/// "10,000"
std::string count(std::int64_t n);
/// "1 image", "10,000 images"
std::string count(std::int64_t n, std::string_view noun);

std::string base64(std::span<const std::byte> bytes);

}  // namespace offramp::report
