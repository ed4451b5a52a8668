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
                                               const model::ModelFile& model) {
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
  return model.policy;
}

engine::CertificateStatus certificate_of_run(const PolicyChoice& choice,
                                             const engine::OpenedModel& model,
                                             const std::optional<policy::DriftVerdict>& drift,
                                             std::int64_t images) {
  if (!model.file().policy || !model.file().policy->guarantee) return {};
  if (choice.threshold || choice.no_policy)
    return {InForce::no, "the policy is not the model's own, for which the certificate was made"};
  return engine::with_drift(model.certificate().status(), drift, static_cast<double>(images));
}

std::optional<policy::DriftVerdict> drift_of(const policy::ChosenPolicy& chosen,
                                             std::span<const double> shares, std::int64_t images) {
  if (!chosen.seen) return std::nullopt;
  return policy::compare_exits(shares, static_cast<double>(images), chosen.seen->shares,
                               static_cast<double>(chosen.seen->images));
}

}  // namespace offramp::workflow
