#pragma once

#include <string>
#include <vector>

#include "workflow/benchmark.h"

namespace offramp::cli {

/// The result of `offramp bench`, as JSON and as text.
std::string to_json_text(const workflow::Benchmark& result);
std::string to_text(const workflow::BenchmarkOptions& options, const workflow::Benchmark& result,
                    bool color);

std::string to_json_text(const std::vector<workflow::Ceiling>& ceilings);
std::string to_text(const std::vector<workflow::Ceiling>& ceilings, bool color);

/// One line of warning, "the machine was busy: …", if other processes used the machine during the
/// measurement; empty otherwise.
std::string machine_load_warning(const workflow::MachineLoad& load);

}  // namespace offramp::cli
