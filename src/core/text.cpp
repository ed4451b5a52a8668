#include "core/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace offramp::core {

std::string with_commas(std::int64_t value) {
  std::string digits = std::to_string(value);
  const std::size_t first = value < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

std::string duration_text(double seconds) {
  constexpr double kLongest = 1e12;  // an integer holds it, and no work takes so long
  if (!(seconds >= 0 && seconds < kLongest)) return fmt::format("{:g} s", seconds);
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

std::string suggestion(std::string_view word, const std::vector<std::string>& known) {
  const std::string nearest = nearest_word(word, known);
  return nearest.empty() ? "" : fmt::format("; did you mean \"{}\"?", nearest);
}

std::string unknown_name(std::string_view what, std::string_view name,
                         const std::vector<std::string>& known) {
  std::string help = suggestion(name, known);
  if (help.empty()) help = fmt::format("; known: {}", fmt::join(known, ", "));
  return fmt::format("unknown {} {}{}", what, quote(name), help);
}

}  // namespace offramp::core
