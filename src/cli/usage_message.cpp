#include "cli/usage_message.h"

#include <fmt/format.h>

#include <regex>
#include <string_view>
#include <vector>

#include "cli/help_format.h"
#include "core/error.h"
#include "core/numbers.h"

namespace offramp::cli {
namespace {

/// Returns the innermost subcommand that was given: `fetch` for "offramp data fetch".
CLI::App* chosen_command(CLI::App& app) {
  CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return command;
}

std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return (parent == nullptr ? "" : full_name(*parent) + " ") + command.get_name();
}

std::vector<std::string> subcommand_names(CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* one : command.get_subcommands({})) names.push_back(one->get_name());
  return names;
}

/// Joins words: "a, b or c".
std::string one_of(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    text += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return text;
}

std::string about_unknown_word(CLI::App& command, const std::string& word) {
  const bool is_flag = word.starts_with("-");
  std::vector<std::string> known;
  if (is_flag) {
    for (const CLI::Option* option : command.get_options({}))
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  } else {
    known = subcommand_names(command);
  }
  const char* what = is_flag ? "flag" : known.empty() ? "argument" : "command";
  const std::string near = core::nearest_word(word.substr(0, word.find('=')), known);
  return fmt::format("{} {} {}{}", known.empty() || is_flag ? "unexpected" : "unknown", what,
                     core::quote(word),
                     near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
}

/// What kind of value an option takes: "a whole number". The result is empty if it is not a number.
std::string kind_of_number(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (type.starts_with("INT")) return "a whole number";
  if (type.starts_with("UINT")) return "a whole number from 0";
  if (type.starts_with("FLOAT")) return "a number";
  return "";
}

std::string kind_of_value(CLI::App& command, const std::string& name) {
  const CLI::Option* option = command.get_option_no_throw(name);
  const std::string kind = option == nullptr ? "" : kind_of_number(*option);
  return kind.empty() ? "another value" : kind;
}

/// Whether a text is a number in decimal. A whole number has no leading zeros.
bool is_decimal(std::string_view text, bool whole) {
  if (text.starts_with("+")) text.remove_prefix(1);
  if (!core::parse_number<double>(text)) return false;
  if (text.starts_with("-")) text.remove_prefix(1);
  return !whole || text.size() < 2 || text[0] != '0' || text[1] == '.';
}

/// A command with the arguments that it must have: "offramp classify MODEL IMAGES…".
std::string with_arguments(const CLI::App& command) {
  std::string text = full_name(command);
  for (const CLI::Option* option : command.get_options({})) {
    if (!option->get_positional() || !option->get_required()) continue;
    text += " " + argument_name(*option) + (option->get_items_expected_max() > 1 ? "…" : "");
  }
  return text;
}

/// The parser's message about a value or a missing word, in our words. The patterns are those of
/// CLI11 2.1 to 2.5.
std::string in_our_words(CLI::App& command, const std::string& message) {
  std::smatch found;
  const auto is = [&](const char* pattern) {
    return std::regex_match(message, found, std::regex(pattern));
  };
  if (is(R"((?:Could not convert: )(\S+) = ([^]*))")) {
    const CLI::Option* option = command.get_option_no_throw(found[1]);
    if (option != nullptr && option->get_items_expected_max() == 0)
      return fmt::format("{}: takes no value", found[1].str());
    return fmt::format("{}: expected {}, got {}", found[1].str(), kind_of_value(command, found[1]),
                       core::quote(found[2].str()));
  }
  if (is(R"((\S+): Value ([^]*) not in range \[?(\S+?) (?:to|-) (\S+?)\]?)")) {
    const std::string kind = kind_of_value(command, found[1]);
    return fmt::format("{}: expected {} from {} to {}, got {}", found[1].str(),
                       kind == "a number" ? kind : "a whole number", short_number(found[3]),
                       short_number(found[4]), core::quote(found[2].str()));
  }
  if (is(R"((\S+): ([^]*) not in \{(.*)\})"))
    return fmt::format("{}: expected one of {}; got {}", found[1].str(),
                       std::regex_replace(found[3].str(), std::regex(","), ", "),
                       core::quote(found[2].str()));
  if (is(R"((\S+): At Most 1 required but received (\d+))"))
    return fmt::format("{}: expected once, got it {} times", found[1].str(), found[2].str());
  if (is(R"((\S+): \d+ required .* missing)"))
    return fmt::format("{}: needs a value", found[1].str());
  if (is(R"((\S+): (?:too many inputs for a flag|Should be true/false or a number))") ||
      is(R"((\S+) was given a disallowed flag override)"))
    return fmt::format("{}: takes no value", found[1].str());
  if (is(R"((\S+) requires (\S+))"))
    return fmt::format("{}: needs {}", found[1].str(), found[2].str());
  if (is(R"((\S+) excludes (\S+))"))
    return fmt::format("{}: cannot be used with {}", found[1].str(), found[2].str());
  if (is(R"((\S+) is required)"))
    if (const CLI::Option* option = command.get_option_no_throw(found[1]);
        option != nullptr && option->get_positional())
      return fmt::format("no {} given; expected {}", found[1].str(), with_arguments(command));
  if (is("A subcommand is required"))
    return fmt::format("give a command: {}", one_of(subcommand_names(command)));
  return message;
}

}  // namespace

void require_decimal_numbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options({})) {
    const std::string kind = kind_of_number(*option);
    if (kind.empty()) continue;
    option->check([kind](const std::string& text) {
      return is_decimal(text, kind != "a number")
                 ? ""
                 : fmt::format("expected {}, got {}", kind, core::quote(text));
    });
  }
  for (CLI::App* command : app.get_subcommands({})) require_decimal_numbers(*command);
}

std::string usage_message(CLI::App& app, const CLI::ParseError& error) {
  CLI::App& command = *chosen_command(app);
  const std::vector<std::string> unknown = command.remaining();
  const std::string what = unknown.empty() ? in_our_words(command, error.what())
                                           : about_unknown_word(command, unknown.front());
  return fmt::format("{}; see {} --help", what, full_name(command));
}

}  // namespace offramp::cli
