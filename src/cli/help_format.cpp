#include "cli/help_format.h"

#include <cctype>
#include <regex>

namespace offramp::cli {
namespace {

/// The values that an option takes, in words. `type` is the parser's name of its type.
std::string values_in_words(const std::string& type) {
  std::smatch found;
  if (std::regex_search(type, found, std::regex(R"(in \[(\S+) - (\S+)\])")))
    return short_number(found[1]) + " to " + short_number(found[2]);
  if (std::regex_search(type, found, std::regex(R"(\{(.*)\})")))
    return std::regex_replace(found[1].str(), std::regex(","), "|");
  if (type.starts_with("INT") || type.starts_with("UINT") || type.starts_with("FLOAT"))
    return "NUMBER";
  return type;
}

}  // namespace

std::string argument_name(const CLI::Option& argument) {
  std::string name = argument.get_name(true);
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

std::string short_number(std::string text) {
  if (text.find('.') == text.npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string HelpFormat::make_option_name(const CLI::Option* option, bool is_positional) const {
  return is_positional ? argument_name(*option) : Formatter::make_option_name(option, false);
}

std::string HelpFormat::make_option_opts(const CLI::Option* option) const {
  std::string text = Formatter::make_option_opts(option);
  const std::string type = option->get_type_name();
  const std::size_t begin = type.empty() ? text.npos : text.find(" " + type);
  if (begin == text.npos) return text;
  const std::string values = values_in_words(type);
  // A positional argument has no description of its values: its name says what it is.
  return text.replace(begin, 1 + type.size(), option->get_positional() ? "" : " " + values);
}

}  // namespace offramp::cli
