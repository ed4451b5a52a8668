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

/// What the logits of a network alone hold a policy against: each exit used alone, at the cost of a
/// network cut off there; exits drawn at random, at the policy's rates; the oracle.
/// @param answers  [N] what the policy names
std::vector<ReportControl> own_controls(const LogitsView& view, const Cost& cost,
                                        std::span<const std::int64_t> answers,
                                        const PolicyMetrics& metrics);

/// Another network on the same images.
struct OtherNetwork {
  std::string name;
  Cost cost;
  std::vector<std::int64_t> last;         ///< [N] what its last exit names
  std::optional<StoppedAnswers> stopped;  ///< under its own policy, if it has one
};

/// Its last exit at the cost of its backbone, and its policy. Costs are relative to `plain_macs`.
/// @param answers  [N] what the policy names that they are held against
std::vector<ReportControl> network_controls(const OtherNetwork& other, std::int64_t plain_macs,
                                            std::span<const std::int64_t> labels,
                                            std::span<const std::int64_t> answers);

}  // namespace offramp::workflow
