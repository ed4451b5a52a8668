#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/engine.h"
#include "cli/policy_flags.h"
#include "eval/logits_file.h"
#include "eval/metrics.h"
#include "eval/policy_metrics.h"
#include "graph/cost.h"
#include "model/model_file.h"
#include "policy/drift.h"
#include "report/report.h"

namespace offramp::cli {

/// Of `offramp test`.
struct TestFlags {
  std::string model, data, save_logits, part = "test";
  std::vector<std::string> compare, sweep;
  bool json = false, confusion = false, skip_trained = false;
  PolicyFlags policy;
  EngineFlags engine;
};

/// What a policy did when the network really stopped where it says.
struct PolicyResult {
  ChosenPolicy chosen;
  bool of_model = false;
  bool certificate_lost = false;  ///< the model has one, for another precision or other kernels
  PolicyMetrics metrics;
  std::vector<std::int64_t> answers;
  /// Where these images leave beside those it was chosen on; of a model's own policy.
  std::optional<DriftVerdict> drift;
  /// Images that leave elsewhere, or with another answer, when saved logits are replayed.
  std::int64_t replay_differs = 0;
};

/// What it measured.
struct TestResult {
  Engine engine;
  SavedLogits logits;
  Metrics metrics;
  Cost cost;
  std::optional<PolicyResult> policy;
  /// Differences are from the policy, or without one from the last exit.
  std::vector<ReportControl> controls;
};

std::string to_json_text(const TestFlags& flags, const ModelFile& model, const TestResult& result);
/// @param source  the data, for people
std::string to_text(const TestFlags& flags, const ModelFile& model, const TestResult& result,
                    const std::string& source, bool color);

}  // namespace offramp::cli
