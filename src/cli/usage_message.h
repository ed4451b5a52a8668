#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace offramp::cli {

/// Makes all options of a program that take a number refuse what is not written in decimal: the
/// parser would read 0x10 as 16, 010 as 8 and 0x1p-1 as 0.5.
void require_decimal_numbers(CLI::App& app);

/// A message that says what is wrong with a command line, in the same words as other messages of
/// the program, and which --help to read.
/// @param app  the program, after it has tried to parse the command line
std::string usage_message(CLI::App& app, const CLI::ParseError& error);

}  // namespace offramp::cli
