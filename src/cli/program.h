#pragma once

#include <functional>

#include "cli/command.h"

namespace offramp::cli {

/// Calls `work`, the whole work of a program, and prints any exception as one line on standard
/// error.
/// @return the exit status: what `work` returned, 2 after a UsageError, 1 after another exception
int run_reporting_errors(const Action& work);

/// A function that sets the name of the program and declares its flags and commands.
using DeclareCommands = std::function<void(CLI::App& app, Action& action)>;

/// Parses the command line and runs the action it asks for. Errors are handled as in
/// run_reporting_errors.
/// @return the exit status
int run_program(int argc, char** argv, const DeclareCommands& declare);

}  // namespace offramp::cli
