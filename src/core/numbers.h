#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

namespace offramp::core {

/// The median of at least one value. For an even number of values it is the larger of the two
/// middle ones.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Returns at most `wanted` of the values, evenly spaced and including the first and the last.
template <typename T>
std::vector<T> evenly_spaced(const std::vector<T>& values, std::size_t wanted) {
  if (values.size() <= wanted) return values;
  std::vector<T> chosen;
  for (std::size_t i = 0; i < wanted; ++i)
    chosen.push_back(values[wanted == 1 ? 0 : i * (values.size() - 1) / (wanted - 1)]);
  return chosen;
}

/// Returns the number at the beginning of `text` and removes it from the text. If there is none, or
/// it does not fit into `Number`, returns nullopt and leaves the text unchanged.
template <typename Number>
std::optional<Number> take_number(std::string_view& text) {
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  return value;
}

/// Returns the number that the whole of `text` is, or nullopt if it is not a number or does not fit
/// into `Number`.
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  const auto value = take_number<Number>(text);
  return text.empty() ? value : std::nullopt;
}

/// Returns the shortest decimal that converts back to the same float: 0.4914 rather than
/// 0.49140000343322754.
inline double shortest_decimal(float value) {
  const double decimal = std::strtod(fmt::format("{}", value).c_str(), nullptr);
  return static_cast<float>(decimal) == value ? decimal : static_cast<double>(value);
}

}  // namespace offramp::core
