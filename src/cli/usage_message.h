#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace offramp::cli {

/// A message that says what is wrong with a command line, in the same words as other messages of
/// the program, and which --help to read.
/// @param app  the program, after it has tried to parse the command line
std::string usage_message(CLI::App& app, const CLI::ParseError& error);

}  // namespace offramp::cli
