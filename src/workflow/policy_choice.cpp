#include "workflow/policy_choice.h"

#include <algorithm>

#include "core/error.h"
#include "policy/criteria.h"

namespace offramp::workflow {

void check(const PolicyChoice& choice) {
  if (!choice.threshold) return;
  if (choice.no_policy) throw UsageError("no_policy: cannot be combined with a threshold");
  try {
    policy::check_threshold(choice.criterion, *choice.threshold);
  } catch (const Error& error) {
    core::throw_with_place("threshold", error);
  }
}

std::optional<policy::ChosenPolicy> policy_for(const PolicyChoice& choice,
                                               const model::ModelFile& model,
                                               bool certificate_holds) {
  check(choice);
  if (choice.threshold) {
    policy::ChosenPolicy chosen;
    chosen.policy = policy::never_stop(static_cast<int>(graph::exit_segments(model.graph).size()));
    chosen.policy.criterion = choice.criterion;
    // Scores are f32, so the threshold is rounded to f32 too: as a double, 0.9 is above 0.9f.
    std::ranges::fill(chosen.policy.thresholds, static_cast<float>(*choice.threshold));
    chosen.aim = policy::FixedThreshold{*choice.threshold};
    return chosen;
  }
  if (choice.no_policy || !model.policy) return std::nullopt;
  policy::ChosenPolicy chosen = *model.policy;
  if (!certificate_holds) {
    chosen.guarantee.reset();
    chosen.path.reset();
  }
  return chosen;
}

std::optional<policy::DriftVerdict> drift_of(const policy::ChosenPolicy& chosen,
                                             std::span<const double> shares, std::int64_t images) {
  if (!chosen.seen) return std::nullopt;
  return policy::compare_exits(shares, static_cast<double>(images), chosen.seen->shares,
                               static_cast<double>(chosen.seen->images));
}

}  // namespace offramp::workflow
