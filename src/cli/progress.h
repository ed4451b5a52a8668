#pragma once

#include "workflow/progress.h"

namespace offramp::cli {

/// Shows progress on standard error: a line that is drawn again where that is a terminal, else
/// nothing; and each remark once, on a line of its own.
workflow::Progress terminal_progress();

}  // namespace offramp::cli
