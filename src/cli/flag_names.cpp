#include "cli/flag_names.h"

#include <algorithm>
#include <utility>

namespace offramp::cli {
namespace {

constexpr std::pair<std::string_view, std::string_view> kFlags[] = {
    {"against", "--against"},
    {"alpha", "--alpha"},
    {"batch", "--batch"},
    {"batches", "--batch"},
    {"corruption", "--corrupt"},
    {"data", "--data"},
    {"delta", "--delta"},
    {"drop_useless_exits", "--drop-useless-exits"},
    {"epsilon", "--guarantee"},
    {"images", "--images"},
    {"keep", "--keep"},
    {"max_exits", "--max-exits"},
    {"max_drop", "--max-accuracy-drop"},
    {"max_relative_cost", "--max-cost"},
    {"mode", "--mode"},
    {"out", "--out"},
    {"output", "--out"},
    {"precision", "--precision"},
    {"reference", "--reference"},
    {"save_logits", "--save-logits"},
    {"seconds", "--seconds"},
    {"threads", "--threads"},
    {"threshold", "--threshold"},
};

/// Returns the position of the quotation mark that ends a text of core::quote, or the size of
/// `text` if there is none. @param begin  the position after the first quotation mark
std::size_t end_of_quoted(std::string_view text, std::size_t begin) {
  while (begin < text.size() && text[begin] != '"') begin += text[begin] == '\\' ? 2 : 1;
  return std::min(begin, text.size());
}

}  // namespace

std::string with_flag_name(std::string_view message) {
  const std::size_t end = message.find(": ");
  if (end == message.npos) return std::string(message);
  const std::string_view field = message.substr(0, end);
  for (const auto& [known, flag] : kFlags)
    if (field == known) return std::string(flag) + std::string(message.substr(field.size()));
  return std::string(message);
}

std::string with_flag_names(std::string_view text) {
  // Every second part is quoted; names and paths in quotation marks are not changed.
  std::string result;
  bool is_quoted = false;
  for (std::size_t begin = 0; begin <= text.size(); is_quoted = !is_quoted) {
    const std::size_t end =
        is_quoted ? end_of_quoted(text, begin) : std::min(text.find('"', begin), text.size());
    std::string part(text.substr(begin, end - begin));
    for (const auto& [field, flag] : kFlags) {
      if (is_quoted || field.find('_') == field.npos) continue;  // may be an ordinary word
      for (std::size_t at = part.find(field); at != part.npos;
           at = part.find(field, at + flag.size()))
        part.replace(at, field.size(), flag);
    }
    result += part;
    if (end < text.size()) result += '"';
    begin = end + 1;
  }
  return result;
}

}  // namespace offramp::cli
