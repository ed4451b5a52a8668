#pragma once

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

#include "workflow/policy_choice.h"

namespace offramp::cli {

/// Flags that choose the policy by which a command stops at an early exit.
struct PolicyFlags {
  std::optional<double> threshold;
  std::string criterion = "confidence";
  bool no_policy = false;
};

/// Declares --threshold, --criterion and --no-policy.
void add_policy_flags(CLI::App& command, PolicyFlags& flags);

/// Turns the flags into a choice of policy.
/// @throws UsageError naming the flag if a value is invalid or two flags exclude each other
workflow::PolicyChoice policy_choice(const PolicyFlags& flags);

}  // namespace offramp::cli
