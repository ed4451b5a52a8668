#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/policy_metrics.h"
#include "graph/cost.h"
#include "policy/logits.h"
#include "report/report.h"
#include "workflow/evaluate.h"

namespace offramp::workflow {

/// Baselines for a policy that need only the logits of its own network: each exit used alone;
/// exits drawn at random with the policy's shares; and the oracle, which stops at the first correct
/// exit.
/// @param view     logits of all exits
/// @param costs    [K] relative cost of an image that stops at each exit
/// @param alone_costs  [K] relative cost of a network that ends at each exit, without other heads
/// @param answers  [N] the classes that the policy predicts @param metrics  metrics of the policy
std::vector<report::ReportBaseline> own_baselines(const policy::LogitsView& view,
                                                  std::span<const double> costs,
                                                  std::span<const double> alone_costs,
                                                  std::span<const std::int64_t> answers,
                                                  const eval::PolicyMetrics& metrics);
/// The same with the costs of a network.
std::vector<report::ReportBaseline> own_baselines(const policy::LogitsView& view,
                                                  const graph::Cost& cost,
                                                  std::span<const std::int64_t> answers,
                                                  const eval::PolicyMetrics& metrics);

/// The results of another network on the same images.
struct OtherNetwork {
  std::string name;
  graph::Cost cost;
  std::vector<std::int64_t> last;         ///< [N] the classes that its last exit predicts
  std::optional<StoppedAnswers> stopped;  ///< its run under its own policy, if it has one
};

/// Baselines from another network: its last exit alone, at the cost of its backbone, and its policy
/// if it has one. Costs are relative to `plain_macs`.
/// @param answers  [N] the classes predicted by the policy that is compared with them
std::vector<report::ReportBaseline> network_baselines(const OtherNetwork& other,
                                                      std::int64_t plain_macs,
                                                      std::span<const std::int64_t> labels,
                                                      std::span<const std::int64_t> answers);

}  // namespace offramp::workflow
