#include "policy/predict_guarantee.h"

#include <cstddef>
#include <vector>

#include "policy/binomial.h"
#include "policy/fixed_sequence.h"
#include "policy/thresholds.h"

namespace offramp::policy {

std::int64_t max_certifiable_count(std::int64_t images, double epsilon, double level) {
  std::int64_t passes = -1, fails = images;
  while (fails - passes > 1) {
    const std::int64_t middle = passes + (fails - passes) / 2;
    (binomial_cdf(middle, images, epsilon) <= level ? passes : fails) = middle;
  }
  return passes;
}

ChosenThresholds predict_guarantee(const Policy& policy, const LogitsView& tune,
                                   std::span<const double> costs, const HarmGuarantee& aim,
                                   std::int64_t certify_images, int attempt) {
  const ExitPredictions exit_predictions = predict_exits(policy, tune.logits, tune.classes);
  const auto harmless = harmless_table(
      exit_predictions, reference_answers(policy, tune, aim.against), tune.labels, aim.label_free);
  const auto correct = correct_table(exit_predictions, tune.labels);
  const ExitTable by_harm{exit_predictions.exits, exit_predictions.images, exit_predictions.scores,
                          harmless, costs};
  const ExitTable by_label{exit_predictions.exits, exit_predictions.images, exit_predictions.scores,
                           correct, costs};
  const auto images = static_cast<double>(tune.images());
  const std::int64_t most =
      max_certifiable_count(certify_images, aim.epsilon, level_of_tests(aim, attempt));
  Thresholds boldest(policy.thresholds.size());
  for (const ThresholdOutcome& step :
       evaluate_threshold_path(by_harm, greedy_threshold_path(by_harm, kPathLevels))) {
    const std::int64_t harmed = tune.images() - step.good;
    if (harmed * certify_images > most * tune.images())
      break;  // compares rates exactly, without division
    boldest = step.thresholds;
  }
  const ThresholdOutcome choice = evaluate_thresholds(by_label, boldest);
  ChosenThresholds chosen;
  chosen.policy = policy;
  chosen.policy.thresholds = boldest;
  chosen.accuracy = static_cast<double>(choice.good) / images;
  chosen.relative_cost = choice.total_cost / images;
  chosen.met = boldest != Thresholds(boldest.size());
  return chosen;
}

}  // namespace offramp::policy
