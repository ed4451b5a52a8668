#pragma once

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

#include "workflow/policy_choice.h"

namespace offramp::cli {

/// Flags of commands that run a network until it is sure.
struct PolicyFlags {
  std::optional<double> threshold;
  std::string criterion = "confidence";
  bool no_policy = false;
};

/// Declares --threshold, --criterion and --no-policy.
void add_policy_flags(CLI::App& command, PolicyFlags& flags);

/// @throws UsageError naming the flag if a value makes no sense, or two flags exclude each other
workflow::PolicyChoice policy_choice(const PolicyFlags& flags);

}  // namespace offramp::cli
