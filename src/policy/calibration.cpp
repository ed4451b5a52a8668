#include "policy/calibration.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/error.h"
#include "core/parallel.h"
#include "policy/binomial.h"
#include "policy/cross_validate.h"
#include "policy/fixed_sequence.h"
#include "policy/temperature.h"

namespace offramp::policy {
namespace {

constexpr double kLeastLevel = 1e-250;  // far above the smallest double

void check_view(const LogitsView& view, const char* name, bool labelled = true) {
  if (view.images() == 0) throw Error(fmt::format("{}: no image to calibrate on", name));
  const std::size_t cells = static_cast<std::size_t>(view.exits) * view.labels.size() *
                            static_cast<std::size_t>(view.classes);
  if (view.exits < 1 || view.classes < 1 || cells != view.logits.size())
    throw Error(fmt::format("{}: {} logits do not fit {} exits, {} images and {} classes", name,
                            view.logits.size(), view.exits, view.images(), view.classes));
  if (!labelled) return;
  for (const std::int64_t label : view.labels)
    if (label < 0 || label >= view.classes)
      throw Error(
          fmt::format("{}: label {} is out of range for {} classes", name, label, view.classes));
}

ExitTable table_of(const ExitPredictions& exit_predictions, std::span<const std::uint8_t> good,
                   std::span<const double> costs) {
  if (costs.size() != static_cast<std::size_t>(exit_predictions.exits))
    throw Error(fmt::format("costs: got {}, expected {}: one for each exit", costs.size(),
                            exit_predictions.exits));
  return {exit_predictions.exits, exit_predictions.images, exit_predictions.scores, good, costs};
}

std::span<const float> logits_of_exit(const LogitsView& view, int exit_index) {
  const std::size_t cells = view.labels.size() * static_cast<std::size_t>(view.classes);
  return view.logits.subspan(static_cast<std::size_t>(exit_index) * cells, cells);
}

// Returns the largest number of threads to use, 0 for all cores. With few logits, starting threads
// takes longer than the work itself.
int max_threads_for(const LogitsView& view) { return view.logits.size() < 1'000'000 ? 1 : 0; }

std::vector<float> fitted_weights(const Policy& policy, const LogitsView& view) {
  const auto exits = static_cast<std::size_t>(view.exits);
  const std::size_t images = view.labels.size();
  std::vector<double> given(exits * images);
  std::vector<float> p(static_cast<std::size_t>(view.classes));
  for (std::size_t k = 0; k < exits; ++k)
    for (std::size_t i = 0; i < images; ++i) {
      softmax(view.at(static_cast<int>(k), static_cast<std::int64_t>(i)), policy.temperatures[k],
              p);
      const float of_label = p[static_cast<std::size_t>(view.labels[i])];
      given[k * images + i] = std::isfinite(of_label) ? static_cast<double>(of_label) : 0.0;
    }
  std::vector<float> weights;
  for (const double weight : fit_ensemble_weights(given, view.exits))
    weights.push_back(static_cast<float>(weight));
  return weights;
}

// The scores and costs of the tune images under a policy, from which thresholds are chosen.
struct TuneTable {
  TuneTable(const Policy& policy, const LogitsView& tune, std::span<const double> of_exits)
      : costs(of_exits) {
    check_view(tune, "tune");
    check(policy, tune.exits);
    exit_predictions = predict_exits(policy, tune.logits, tune.classes);
    correct = correct_table(exit_predictions, tune.labels);
    table_of(exit_predictions, correct, costs);  // checks the sizes before a search begins
  }

  double images() const { return static_cast<double>(exit_predictions.images); }
  ExitTable by_label() const { return table_of(exit_predictions, correct, costs); }

  ChosenThresholds chosen(const Policy& policy, const ThresholdOutcome& choice, bool met) const {
    ChosenThresholds result;
    result.policy = policy;
    result.policy.thresholds = choice.thresholds;
    result.accuracy = static_cast<double>(choice.good) / images();
    result.relative_cost = choice.total_cost / images();
    result.met = met;
    return result;
  }
  /// The path of thresholds for little harm against the last exit, with its cross-validation.
  CrossValidatedPath cross_validated(const Policy& policy, const LogitsView& tune) const {
    const auto harmless =
        harmless_table(exit_predictions, reference_answers(policy, tune, HarmReference::last_exit),
                       tune.labels, false);
    return cross_validate(exit_predictions, correct, harmless, costs);
  }
  ChosenThresholds chosen(const Policy& policy, const CrossValidatedPath& path,
                          std::size_t step) const {
    ChosenThresholds result = chosen(policy, path.fitted[step], true);
    if (!path.cross_validated_correct.empty())
      result.held_out_accuracy = path.cross_validated_correct[step] / images();
    return result;
  }
  /// The result if no thresholds satisfy the aim.
  ChosenThresholds never_stopping(const Policy& policy) const {
    return chosen(policy, evaluate_thresholds(by_label(), Thresholds(policy.thresholds.size())),
                  false);
  }

  std::span<const double> costs;
  ExitPredictions exit_predictions;
  std::vector<std::uint8_t> correct;
};

// Returns the indices of the steps that are stored: at most kMaxPathSteps evenly spaced ones from 0
// to the last certified step, both included, and the step that failed.
std::vector<std::size_t> stored_steps(std::size_t certified, std::size_t path_length) {
  const std::size_t count = std::min(certified + 1, kMaxPathSteps);
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < count; ++i)
    indices.push_back(count == 1 ? certified : i * certified / (count - 1));
  if (certified + 1 < path_length) indices.push_back(certified + 1);
  return indices;
}

}  // namespace

Policy fit_policy(const PolicyOptions& shape, const LogitsView& tune) {
  check_view(tune, "tune");
  Policy policy = never_stop(tune.exits);
  policy.criterion = shape.criterion;
  policy.ensemble = shape.ensemble;
  core::parallel_for(
      static_cast<std::size_t>(tune.exits),
      [&](std::size_t k) {
        policy.temperatures[k] = static_cast<float>(
            fit_temperature(logits_of_exit(tune, static_cast<int>(k)), tune.labels));
      },
      max_threads_for(tune));
  if (shape.ensemble == Ensemble::weighted) policy.ensemble_weights = fitted_weights(policy, tune);
  return policy;
}

std::vector<std::uint8_t> correct_table(const ExitPredictions& exit_predictions,
                                        std::span<const std::int64_t> labels) {
  std::vector<std::uint8_t> correct(exit_predictions.answers.size());
  for (std::size_t at = 0; at < correct.size(); ++at)
    correct[at] = exit_predictions.answers[at] == labels[at % labels.size()];
  return correct;
}

std::vector<std::int64_t> reference_answers(const Policy& policy, const LogitsView& view,
                                            HarmReference against) {
  std::vector<std::int64_t> answers;
  answers.reserve(view.labels.size());
  ExitState exit_state;
  for (std::int64_t i = 0; i < view.images(); ++i) {
    if (against == HarmReference::last_exit) {
      answers.push_back(argmax(view.at(view.exits - 1, i)));
      continue;
    }
    for (int k = 0; k < view.exits; ++k) update_exit_state(policy, k, view.at(k, i), exit_state);
    answers.push_back(exit_state.answer);
  }
  return answers;
}

std::vector<std::uint8_t> harmless_table(const ExitPredictions& exit_predictions,
                                         std::span<const std::int64_t> references,
                                         std::span<const std::int64_t> labels, bool label_free) {
  const std::size_t images = labels.size();
  OFFRAMP_ASSERT(references.size() == images);
  std::vector<std::uint8_t> harmless(exit_predictions.answers.size());
  for (std::size_t at = 0; at < harmless.size(); ++at) {
    const std::size_t i = at % images;
    const bool same = exit_predictions.answers[at] == references[i];
    const bool reference_wrong = references[i] != labels[i];
    harmless[at] = same || (!label_free && reference_wrong);
  }
  return harmless;
}

ChosenThresholds choose_thresholds(const Policy& policy, const LogitsView& tune,
                                   std::span<const double> costs, const FixedThreshold& aim) {
  const TuneTable tables(policy, tune, costs);
  const auto threshold = static_cast<float>(aim.threshold);
  return tables.chosen(
      policy,
      evaluate_thresholds(tables.by_label(), Thresholds(policy.thresholds.size(), threshold)),
      true);
}

ChosenThresholds choose_thresholds(const Policy& policy, const LogitsView& tune,
                                   std::span<const double> costs, const AccuracyDrop& aim,
                                   double reference_accuracy) {
  const TuneTable tables(policy, tune, costs);
  // The tolerance keeps rounding from requiring one image more than the rate stands for.
  const double least_accuracy = reference_accuracy - aim.max_drop;
  const auto least = static_cast<std::int64_t>(std::ceil(least_accuracy * tables.images() - 1e-6));
  const CrossValidatedPath path = tables.cross_validated(policy, tune);
  const std::optional<std::size_t> step = cheapest_accurate_step(path, least);
  return step ? tables.chosen(policy, path, *step) : tables.never_stopping(policy);
}

ChosenThresholds choose_thresholds(const Policy& policy, const LogitsView& tune,
                                   std::span<const double> costs, const MaxCost& aim) {
  const TuneTable tables(policy, tune, costs);
  const CrossValidatedPath path = tables.cross_validated(policy, tune);
  const std::optional<std::size_t> step =
      most_accurate_step(path, tune.images(), aim.max_relative_cost);
  return step ? tables.chosen(policy, path, *step) : tables.never_stopping(policy);
}

double level_of_tests(const HarmGuarantee& aim, int attempt) {
  return (aim.label_free ? 1 : 1 - kDisagreementShare) * level_of_attempt(aim.delta, attempt);
}

CertificationResult prepare_certification(const Policy& policy, const HarmGuarantee& aim,
                                          std::int64_t images, int attempt) {
  if (!(aim.epsilon > 0 && aim.epsilon < 1))
    throw Error(fmt::format("epsilon: {} is not in (0, 1)", aim.epsilon));
  if (!(aim.delta > 0 && aim.delta < 1))
    throw Error(fmt::format("delta: {} is not in (0, 1)", aim.delta));
  if (attempt < 1) throw Error(fmt::format("attempt: expected at least 1, got {}", attempt));
  CertificationResult result;
  result.attempt = attempt;
  result.level = level_of_tests(aim, attempt);
  if (!(result.level > kLeastLevel))
    throw Error(
        fmt::format("attempt {}: earlier attempts have used up delta {}; use new certify images",
                    attempt, aim.delta));
  result.images = images;
  result.images_needed = images_needed(aim.epsilon, result.level);
  result.policy = policy;
  result.policy.thresholds.assign(policy.thresholds.size(), std::nullopt);
  return result;
}

CertificationResult guarantee(const Policy& policy, const LogitsView& tune,
                              const LogitsView& certify, std::span<const double> costs,
                              const HarmGuarantee& aim, int attempt) {
  check_view(tune, "tune");
  check_view(certify, "certify", !aim.label_free);
  check(policy, tune.exits);
  check(policy, certify.exits);
  if (aim.against == HarmReference::ensemble && policy.ensemble == Ensemble::off)
    throw Error("against: the policy has no ensemble, so it can only be the last exit");
  CertificationResult result = prepare_certification(policy, aim, certify.images(), attempt);

  const ExitPredictions on_tune = predict_exits(policy, tune.logits, tune.classes);
  const auto tune_harmless = harmless_table(on_tune, reference_answers(policy, tune, aim.against),
                                            tune.labels, aim.label_free);
  const std::vector<Thresholds> path =
      greedy_threshold_path(table_of(on_tune, tune_harmless, costs), kPathLevels);
  result.path_length = static_cast<std::int64_t>(path.size());
  if (!result.has_enough_images()) return result;

  const ExitPredictions exit_predictions = predict_exits(policy, certify.logits, certify.classes);
  const std::vector<std::int64_t> references = reference_answers(policy, certify, aim.against);
  // Returns [steps] the number of images that each step harms, or classifies differently.
  const auto count_along_path = [&](bool label_free) {
    const auto harmless = harmless_table(exit_predictions, references, certify.labels, label_free);
    std::vector<std::int64_t> counts;
    counts.reserve(path.size());
    for (const ThresholdOutcome& choice :
         evaluate_threshold_path(table_of(exit_predictions, harmless, costs), path))
      counts.push_back(result.images - choice.good);
    return counts;
  };
  const std::vector<std::int64_t> counted = count_along_path(aim.label_free);
  result.counted_never_stopping = counted.front();
  result.step = last_certified(counted, result.images, aim.epsilon, result.level);
  if (!result.step) return result;
  result.counted = counted[*result.step];
  result.upper_bound =
      std::min(clopper_pearson_upper(result.counted, result.images, result.level), aim.epsilon);
  result.policy.thresholds = path[*result.step];
  std::vector<std::int64_t> disagreed;
  if (!aim.label_free) {
    disagreed = count_along_path(true);
    const double level = kDisagreementShare * level_of_attempt(aim.delta, attempt) /
                         static_cast<double>(path.size());
    const std::int64_t of_chosen = disagreed[*result.step];
    result.disagreement =
        DisagreementBound{level, of_chosen, clopper_pearson_upper(of_chosen, result.images, level)};
  }

  const auto correct = correct_table(on_tune, tune.labels);
  const auto images = static_cast<double>(tune.images());
  const std::vector<ThresholdOutcome> by_label =
      evaluate_threshold_path(table_of(on_tune, correct, costs), path);
  for (const std::size_t m : stored_steps(*result.step, path.size())) {
    if (m == *result.step) result.path.chosen = result.path.steps.size();
    result.path.steps.push_back({path[m], counted[m],
                                 static_cast<double>(by_label[m].good) / images,
                                 by_label[m].total_cost / images,
                                 aim.label_free ? std::nullopt : std::optional(disagreed[m])});
  }
  return result;
}

ChosenPolicy certified_policy(const CertificationResult& result, const HarmGuarantee& aim,
                              const std::string& precision, const std::string& kernels) {
  ChosenPolicy chosen;
  chosen.policy = result.policy;
  chosen.aim = aim;
  if (!result.holds()) return chosen;
  Guarantee given;
  given.of = aim.label_free ? "disagreement" : "harm";
  given.epsilon = aim.epsilon;
  given.delta = aim.delta;
  given.level = result.level;
  given.images = result.images;
  given.counted = result.counted;
  given.upper_bound = result.upper_bound;
  given.precision = precision;
  given.kernels = kernels;
  given.against = aim.against;
  given.disagreement = result.disagreement;
  chosen.guarantee = given;
  chosen.path = result.path;
  return chosen;
}

}  // namespace offramp::policy
