#include "report/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/text.h"

namespace offramp::report {
namespace {

std::string clean_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = text.find_first_of("\n\t");
    out += core::printable(text.substr(0, end));
    if (end == text.npos) break;
    out += text[end];
    text.remove_prefix(end + 1);
  }
  return out;
}

std::string with_references(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  return out;
}

int columns(char32_t code) {
  const bool wide = (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xA4CF) ||
                    (code >= 0xAC00 && code <= 0xD7A3) || (code >= 0xF900 && code <= 0xFAFF) ||
                    (code >= 0xFE30 && code <= 0xFE6F) || (code >= 0xFF00 && code <= 0xFF60) ||
                    (code >= 0x1F300 && code <= 0x1FAFF) || (code >= 0x20000 && code <= 0x3FFFD);
  return wide ? 2 : 1;
}

bool all_zero(std::string_view digits) {
  return digits.find_first_of("123456789") == std::string_view::npos;
}

}  // namespace

std::string clean(std::string_view text) { return core::printable(text); }
std::string escape(std::string_view text) { return with_references(clean(text)); }
std::string escape_lines(std::string_view text) { return with_references(clean_lines(text)); }

int columns(std::string_view text) {
  int sum = 0;
  while (!text.empty()) sum += columns(core::take_character(text));
  return sum;
}

std::string shorten(std::string_view text, int most) {
  std::string whole = clean(text);
  if (columns(whole) <= most) return whole;
  std::string out;
  int used = 1;
  for (std::string_view rest = whole; !rest.empty();) {
    const char32_t code = core::take_character(rest);
    used += columns(code);
    if (used > most) break;
    core::append_character(out, code);
  }
  return out + "…";
}

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "–";
  // Halves are rounded up. The factor is for those that are slightly too small in binary: 87.65 is
  // shown as 87.7 with one decimal.
  const std::string digits = fmt::format("{:.{}f}", std::abs(value) * (1 + 1e-12), decimals);
  return value < 0 && !all_zero(digits) ? "−" + digits : digits;
}

std::string signed_fixed(double value, int decimals) {
  const std::string digits = fixed(value, decimals);
  return value > 0 && !all_zero(digits) ? "+" + digits : digits;
}

std::string percent(double rate, int decimals) { return fixed(100 * rate, decimals) + "\u00a0%"; }

std::string percent(const eval::Interval& rates, int decimals) {
  return fixed(100 * rates.low, decimals) + "\u00a0…\u00a0" + percent(rates.high, decimals);
}

std::string points(double difference, int decimals) {
  return signed_fixed(100 * difference, decimals);
}

std::string points(const eval::Interval& differences, int decimals) {
  return points(differences.low, decimals) + "\u00a0…\u00a0" + points(differences.high, decimals);
}

std::string count(std::int64_t n) {
  return n < 0 ? "−" + core::with_commas(-n) : core::with_commas(n);
}

std::string count(std::int64_t n, std::string_view noun) {
  return fmt::format("{} {}{}", count(n), noun, n == 1 ? "" : "s");
}

std::string base64(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](std::size_t j) {
      return j < bytes.size() ? std::to_integer<std::uint32_t>(bytes[j]) : 0u;
    };
    const std::uint32_t word = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    for (std::size_t digit = 0; digit < 4; ++digit)
      out += i + digit > bytes.size() ? '=' : kDigits[(word >> (18 - 6 * digit)) & 63];
  }
  return out;
}

}  // namespace offramp::report
