#include "cli/policy_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace offramp::cli {

void add_policy_flags(CLI::App& command, PolicyFlags& flags) {
  command.add_option("--threshold", flags.threshold,
                     "Stop at the first exit this sure, instead of by the model's own policy");
  command
      .add_option("--criterion", flags.criterion,
                  "What --threshold compares: confidence, entropy, margin or patience")
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
  const double value = *flags.threshold;
  if (criterion == Criterion::patience) {
    if (!(value >= 1 && value <= 1000 && value == std::floor(value)))
      throw UsageError("--threshold: expected a number of exits that agree, from 1, got {}", value);
  } else if (!(value >= 0 && value <= 1)) {
    throw UsageError("--threshold: expected a score from 0 to 1, got {}", value);
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
    chosen.aim = fmt::format("--threshold {}", *flags.threshold);
    return chosen;
  }
  if (flags.no_policy || !model.policy) return std::nullopt;
  ChosenPolicy chosen = *model.policy;
  const auto& given = chosen.guarantee;
  if (given && (given->precision != engine.precision || given->kernels != engine.kernels))
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

std::string describe(const Policy& policy) {
  if (policy.thresholds.empty()) return "the last exit is the only one";
  std::string text;
  const bool shared = std::ranges::adjacent_find(policy.thresholds, std::not_equal_to<>()) ==
                      policy.thresholds.end();
  for (std::size_t k = 0; k < policy.thresholds.size(); ++k) {
    if (shared && k > 0) break;
    const auto& threshold = policy.thresholds[k];
    text += (k == 0 ? "" : ", ") + (threshold ? fmt::format("{:.4g}", *threshold) : "never");
  }
  std::string result = fmt::format("{} ≥ {}", to_string(policy.criterion), text);
  if (policy.ensemble != Ensemble::off)
    result += fmt::format(", {} of the exits so far",
                          policy.ensemble == Ensemble::mean
                              ? "mean"
                              : std::string(to_string(policy.ensemble)) + " mean");
  return result;
}

}  // namespace offramp::cli
