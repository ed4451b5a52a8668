#include "cli/policy_flags.h"

#include <fmt/format.h>

#include "cli/flag_names.h"
#include "core/error.h"
#include "policy/criteria.h"

namespace offramp::cli {

void add_policy_flags(CLI::App& command, PolicyFlags& flags) {
  command.add_option(
      "--threshold", flags.threshold,
      "Stop at the first exit whose score reaches this, instead of by the model's policy");
  command
      .add_option("--criterion", flags.criterion,
                  fmt::format("Criterion whose score is compared with --threshold: {}",
                              policy::criteria_names()))
      ->capture_default_str();
  command.add_flag("--no-policy", flags.no_policy, "Always go to the last exit");
}

workflow::PolicyChoice policy_choice(const PolicyFlags& flags) {
  const workflow::PolicyChoice choice = {
      flags.threshold, policy::criterion_from_string(flags.criterion), flags.no_policy};
  if (!flags.threshold) {
    if (choice.criterion != policy::Criterion::confidence)
      throw UsageError("--criterion: needs --threshold");
    return choice;
  }
  if (flags.no_policy) throw UsageError("--no-policy: cannot be used with --threshold");
  translate_option_errors([&] { check(choice); });
  return choice;
}

}  // namespace offramp::cli
