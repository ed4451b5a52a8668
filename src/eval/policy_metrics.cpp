#include "eval/policy_metrics.h"

#include <cstddef>

#include "core/error.h"

namespace offramp::eval {

PolicyMetrics measure_policy(const PolicyOutcome& outcome, std::span<const double> relative_costs) {
  const std::size_t images = outcome.labels.size();
  if (images == 0) throw Error("no image to evaluate");
  if (outcome.exit_index.size() != images || outcome.answers.size() != images ||
      outcome.references.size() != images)
    throw Error(fmt::format(
        "got {} exits, {} predictions and {} references, expected {} of each: one for each image",
        outcome.exit_index.size(), outcome.answers.size(), outcome.references.size(), images));

  std::vector<std::int64_t> stopped(relative_costs.size());
  std::int64_t correct = 0, harmed = 0, helped = 0, reference_num_correct = 0;
  for (std::size_t i = 0; i < images; ++i) {
    const int exit_index = outcome.exit_index[i];
    if (exit_index < 0 || static_cast<std::size_t>(exit_index) >= stopped.size())
      throw Error(fmt::format("image index {}: exit {} is out of range for {} exits", i,
                              exit_index + 1, stopped.size()));
    ++stopped[static_cast<std::size_t>(exit_index)];
    const bool policy_correct = outcome.answers[i] == outcome.labels[i];
    const bool reference_correct = outcome.references[i] == outcome.labels[i];
    correct += policy_correct;
    reference_num_correct += reference_correct;
    harmed += reference_correct && !policy_correct;
    helped += policy_correct && !reference_correct;
  }

  const auto n = static_cast<double>(images);
  PolicyMetrics metrics;
  metrics.accuracy = static_cast<double>(correct) / n;
  metrics.accuracy_interval = wilson(correct, static_cast<std::int64_t>(images));
  metrics.harm = static_cast<double>(harmed) / n;
  metrics.help = static_cast<double>(helped) / n;
  metrics.reference_accuracy = static_cast<double>(reference_num_correct) / n;
  for (std::size_t k = 0; k < stopped.size(); ++k) {
    metrics.shares.push_back(static_cast<double>(stopped[k]) / n);
    metrics.relative_cost += metrics.shares.back() * relative_costs[k];
  }
  return metrics;
}

}  // namespace offramp::eval
