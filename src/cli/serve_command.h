#pragma once

#include "cli/command.h"

namespace offramp::cli {

/// Declares `offramp serve`. It exists only if the server is built (OFFRAMP_SERVE).
void add_serve_command(CLI::App& app, Action& action);

}  // namespace offramp::cli
