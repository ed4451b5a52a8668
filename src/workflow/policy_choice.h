#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/opened_model.h"
#include "policy/chosen_policy.h"
#include "policy/drift.h"
#include "policy/policy.h"

namespace offramp::workflow {

/// By what images are to stop where that need not be the model's own policy.
struct PolicyChoice {
  /// This threshold of `criterion` at every early exit, instead of the model's policy.
  std::optional<double> threshold = {};
  Criterion criterion = Criterion::confidence;
  bool no_policy = false;  ///< always the last exit
};

/// @throws UsageError naming the field if a value makes no sense, or two exclude each other
void check(const PolicyChoice& choice);

/// The policy that is chosen for a model; its own keeps its guarantee only if that holds here.
/// nullopt: always the last exit.
std::optional<ChosenPolicy> policy_for(const PolicyChoice& choice, const ModelFile& model,
                                       bool certificate_holds);

/// Whether images leave elsewhere than those that a model's policy was chosen on. nullopt: the
/// policy does not know where those left.
/// @param shares  [K] of the images, by the exit they left at
std::optional<DriftVerdict> drift_of(const ChosenPolicy& chosen, std::span<const double> shares,
                                     std::int64_t images);

}  // namespace offramp::workflow
