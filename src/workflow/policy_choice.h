#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/opened_model.h"
#include "policy/chosen_policy.h"
#include "policy/drift.h"
#include "policy/policy.h"

namespace offramp::workflow {

/// The policy of a run: the model's own, a single threshold, or none.
struct PolicyChoice {
  /// If set, every early exit has this threshold of `criterion`, and the model's policy is not
  /// used.
  std::optional<double> threshold = {};
  policy::Criterion criterion = policy::Criterion::confidence;
  bool no_policy = false;  ///< every image runs to the last exit
};

/// @throws UsageError that names the field whose value is not allowed, alone or beside another
void check(const PolicyChoice& choice);

/// Returns the policy by which a model runs; nullopt if every image runs to the last exit.
std::optional<policy::ChosenPolicy> policy_for(const PolicyChoice& choice,
                                               const model::ModelFile& model);

/// Whether the certificate of a model's own policy is in force for a run of `choice`, in which
/// `images` images stopped. It may run the images that the model file stores.
/// @param drift  drift in the run, see drift_of()
engine::CertificateStatus certificate_of_run(const PolicyChoice& choice,
                                             const engine::OpenedModel& model,
                                             const std::optional<policy::DriftVerdict>& drift,
                                             std::int64_t images);

/// Tests whether images stop at other exits than the images on which a policy was chosen. Returns
/// nullopt if the policy does not hold the shares of those images.
/// @param shares  [K] share of the images that stopped at each exit
std::optional<policy::DriftVerdict> drift_of(const policy::ChosenPolicy& chosen,
                                             std::span<const double> shares, std::int64_t images);

}  // namespace offramp::workflow
