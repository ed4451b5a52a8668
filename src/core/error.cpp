#include "core/error.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>

#include "core/text.h"

namespace offramp {

Error::~Error() = default;
UsageError::~UsageError() = default;

}  // namespace offramp

namespace offramp::core {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// Counts the insertions, deletions, substitutions and swaps of adjacent characters that turn `a`
/// into `b` (optimal string alignment distance).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

void throw_with_place(std::string_view place, const Error& error) {
  const std::string message = fmt::format("{}: {}", place, error.what());
  if (dynamic_cast<const UsageError*>(&error) != nullptr) throw UsageError(message);
  throw Error(message);
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string wanted = lower(word);
  std::string best;
  std::size_t best_distance = 0;
  for (const std::string& candidate : candidates) {
    // A word with more than a third of its letters changed is taken as a different word, not as a
    // typing error, and so is a word of one letter.
    const std::size_t longer = std::max(wanted.size(), candidate.size());
    const std::size_t shorter = std::min(wanted.size(), candidate.size());
    const std::size_t allowed = std::max<std::size_t>(1, longer / 3);
    if (longer - shorter > allowed) continue;
    const std::size_t distance = edit_distance(wanted, lower(candidate));
    if (distance > allowed || distance >= shorter) continue;
    if (best.empty() || distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string quote(std::string_view text) {
  constexpr std::size_t kLongest = 120, kLongestEscaped = 160;
  std::string result = "\"";
  const std::size_t size = text.size();
  for (std::string_view rest = text; !rest.empty();) {
    if (size - rest.size() >= kLongest || result.size() > kLongestEscaped) {
      result += "…";
      break;
    }
    const std::string_view before = rest;
    const char32_t code = take_character(rest);
    const std::string_view bytes = before.substr(0, before.size() - rest.size());
    const bool broken = bytes.size() == 1 && static_cast<unsigned char>(bytes[0]) >= 0x80;
    if (!broken && is_printable(code)) {
      if (code == U'"' || code == U'\\') result += '\\';
      result += bytes;
    } else {
      for (const char byte : bytes)
        result += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
  }
  return result + "\"";
}

namespace detail {

void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: internal error: expected %s\n", file, line, condition);
  std::abort();
}

}  // namespace detail
}  // namespace offramp::core
