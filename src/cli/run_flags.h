#pragma once

#include <CLI/CLI.hpp>

#include <string>

#include "workflow/open_model.h"

namespace offramp::cli {

/// Declares --threads, where 0 stands for all cores.
CLI::Option* add_threads_flag(
    CLI::App& command, int& threads,
    const std::string& description = "Threads; 0, the default: all cores");

/// Declares --threads, --batch and --precision for a command that runs a network.
void add_run_flags(CLI::App& command, workflow::RunOptions& run);

}  // namespace offramp::cli
