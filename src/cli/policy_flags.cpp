#include "cli/policy_flags.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "policy/criteria.h"

namespace offramp::cli {

void add_policy_flags(CLI::App& command, PolicyFlags& flags) {
  command.add_option("--threshold", flags.threshold,
                     "Stop at the first exit this sure, instead of by the model's own policy");
  command
      .add_option("--criterion", flags.criterion, "What --threshold compares: " + criteria_names())
      ->capture_default_str();
  command.add_flag("--no-policy", flags.no_policy, "Always go to the last exit");
}

void check(const PolicyFlags& flags) {
  const Criterion criterion = criterion_from_string(flags.criterion);
  if (!flags.threshold) {
    if (criterion != Criterion::confidence) throw UsageError("--criterion: needs --threshold");
    return;
  }
  if (flags.no_policy) throw UsageError("--no-policy: excludes --threshold");
  check_threshold_flag(criterion, *flags.threshold);
}

void check_threshold_flag(Criterion criterion, double threshold) {
  try {
    check_threshold(criterion, threshold);
  } catch (const Error& error) {
    throw_with_place("--threshold", error);
  }
}

std::optional<ChosenPolicy> policy_of(const PolicyFlags& flags, const ModelFile& model,
                                      const Engine& engine) {
  if (flags.threshold) {
    ChosenPolicy chosen;
    chosen.policy = never_stop(static_cast<int>(exit_segments(model.graph).size()));
    chosen.policy.criterion = criterion_from_string(flags.criterion);
    // The threshold is meant in the scores' own precision: 0.9 as typed must not lie above 0.9f.
    std::ranges::fill(chosen.policy.thresholds, static_cast<float>(*flags.threshold));
    chosen.aim = FixedThreshold{*flags.threshold};
    return chosen;
  }
  if (flags.no_policy || !model.policy) return std::nullopt;
  ChosenPolicy chosen = *model.policy;
  const auto& given = chosen.guarantee;
  // What is tuned is what a machine chose today: nothing was certified of that.
  if (given &&
      (engine.tuned || given->precision != engine.precision || given->kernels != engine.kernels))
    chosen.guarantee.reset();
  return chosen;
}

std::optional<DriftVerdict> drift_of(const ChosenPolicy& chosen, std::span<const double> shares,
                                     std::int64_t images) {
  if (!chosen.seen) return std::nullopt;
  return compare_exits(shares, static_cast<double>(images), chosen.seen->shares,
                       static_cast<double>(chosen.seen->images));
}

std::string describe(const DriftVerdict& verdict) {
  return fmt::format(
      "{:.0f} % of the images leave elsewhere than those the policy was chosen on (p = {:.1g}): "
      "these are of another kind",
      100 * verdict.distance, verdict.p_value);
}

}  // namespace offramp::cli
