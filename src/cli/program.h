#pragma once

#include <functional>

#include "cli/command.h"

namespace offramp::cli {

/// Does the work of a program and turns whatever goes wrong into one line on standard error.
/// @return the exit status: what `work` returned; 1 failed, 2 wrong usage
int run_guarded(const Action& work);

/// Names the program, and declares its flags and commands.
using Declare = std::function<void(CLI::App& app, Action& action)>;

/// Parses the command line and does what it asks for, as run_guarded.
int run_program(int argc, char** argv, const Declare& declare);

}  // namespace offramp::cli
