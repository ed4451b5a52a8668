#pragma once

#include "cli/command.h"

namespace offramp::cli {

/// Only where the server is built: OFFRAMP_SERVE.
void add_serve_command(CLI::App& app, Action& action);

}  // namespace offramp::cli
