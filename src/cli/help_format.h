#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace offramp::cli {

/// The name by which help and messages call a positional argument: "MODEL" for `model`.
std::string argument_name(const CLI::Option& argument);

/// A number without the zeros that std::to_string appends: "0.010000" becomes "0.01".
std::string short_number(std::string text);

/// The help of the parser, with arguments in capitals and the values of flags in words: "0 to 4096"
/// where the parser writes "INT:INT in [0 - 4096]".
class HelpFormat : public CLI::Formatter {
 public:
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
};

}  // namespace offramp::cli
