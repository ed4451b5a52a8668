#pragma once

#include <string>
#include <vector>

#include "workflow/benchmark.h"

namespace offramp::cli {

/// What was timed, as JSON for programs and as text for people.
std::string to_json_text(const workflow::Benchmark& result);
std::string to_text(const workflow::BenchmarkOptions& options, const workflow::Benchmark& result,
                    bool color);

std::string to_json_text(const std::vector<workflow::Ceiling>& ceilings);
std::string to_text(const std::vector<workflow::Ceiling>& ceilings, bool color);

/// "the machine was busy: …", one line; empty for a quiet one.
std::string busy_line(const workflow::MachineLoad& load);

}  // namespace offramp::cli
