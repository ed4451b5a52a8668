#pragma once

#include "workflow/progress.h"

namespace offramp::cli {

/// Returns a Progress that writes to standard error. On a terminal it updates one line in place;
/// elsewhere it shows no progress. Each remark is printed once, on its own line.
workflow::Progress terminal_progress();

}  // namespace offramp::cli
