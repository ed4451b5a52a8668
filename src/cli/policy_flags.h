#pragma once

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

#include "cli/engine.h"
#include "model/model_file.h"
#include "policy/drift.h"

namespace offramp::cli {

/// Flags of commands that run a network until it is sure.
struct PolicyFlags {
  std::optional<double> threshold;
  std::string criterion = "confidence";
  bool no_policy = false;
};

/// Declares --threshold, --criterion and --no-policy.
void add_policy_flags(CLI::App& command, PolicyFlags& flags);

/// @throws UsageError if a value makes no sense, or two flags exclude each other
void check(const PolicyFlags& flags);

/// @throws UsageError "--threshold: expected …" if the criterion cannot reach it
void check_threshold_flag(Criterion criterion, double threshold);

/// What to stop by: the flags' threshold at every early exit, else the model's own policy, whose
/// guarantee holds for the precision and the kernels it was certified with only. nullopt: always
/// the last exit.
std::optional<ChosenPolicy> policy_of(const PolicyFlags& flags, const ModelFile& model,
                                      const Engine& engine);

/// Whether images leave elsewhere than those that a model's policy was chosen on. nullopt: the
/// policy does not know where those left.
/// @param shares  [K] of the images, by the exit they left at
std::optional<DriftVerdict> drift_of(const ChosenPolicy& chosen, std::span<const double> shares,
                                     std::int64_t images);

/// "31 % of the images leave elsewhere than …": of a verdict that is a drift.
std::string describe(const DriftVerdict& verdict);

}  // namespace offramp::cli
