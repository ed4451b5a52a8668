#pragma once

#include <CLI/CLI.hpp>

#include "workflow/open_model.h"

namespace offramp::cli {

/// Declares --threads, --batch and --precision for a command that runs a network.
void add_run_flags(CLI::App& command, workflow::RunOptions& run);

}  // namespace offramp::cli
