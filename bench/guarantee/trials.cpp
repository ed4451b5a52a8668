#include "bench/guarantee/trials.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "policy/binomial.h"
#include "policy/cross_validate.h"
#include "policy/fixed_sequence.h"
#include "policy/thresholds.h"

namespace offramp::trials {
namespace {

// One kind of image of a population.
struct Kind {
  double probability;
  std::int64_t label;
  std::vector<std::vector<float>> logits;  // [K][classes]
};

Population population_of(const std::vector<Kind>& kinds, std::vector<double> costs) {
  Population result;
  result.exits = static_cast<int>(costs.size());
  result.classes = static_cast<int>(kinds.front().logits.front().size());
  result.costs = std::move(costs);
  double sum = 0;
  for (const Kind& kind : kinds) {
    result.labels.push_back(kind.label);
    result.cumulative.push_back(sum += kind.probability);
  }
  OFFRAMP_ASSERT(std::abs(sum - 1) < 1e-9);
  for (std::size_t k = 0; k < static_cast<std::size_t>(result.exits); ++k)
    for (const Kind& kind : kinds)
      result.logits.insert(result.logits.end(), kind.logits[k].begin(), kind.logits[k].end());
  return result;
}

struct Drawn {
  int exits, classes;
  std::vector<float> logits;
  std::vector<std::int64_t> labels;
  policy::LogitsView view() const { return {logits, labels, exits, classes}; }
};

Drawn draw_images(const Population& population, std::int64_t count, core::KeyedRandom& random) {
  const auto images = static_cast<std::size_t>(count);
  const auto classes = static_cast<std::size_t>(population.classes);
  const auto exits = static_cast<std::size_t>(population.exits);
  Drawn drawn{population.exits, population.classes, {}, {}};
  drawn.logits.resize(exits * images * classes);
  const policy::LogitsView all = population.view();
  const auto& cumulative = population.cumulative;
  for (std::size_t i = 0; i < images; ++i) {
    auto source = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(all.images())));
    if (!cumulative.empty()) {
      const double u = static_cast<double>(random.next() >> 11) * 0x1p-53;
      source = std::min<std::int64_t>(
          std::upper_bound(cumulative.begin(), cumulative.end(), u) - cumulative.begin(),
          all.images() - 1);
    }
    drawn.labels.push_back(all.labels[static_cast<std::size_t>(source)]);
    for (std::size_t k = 0; k < exits; ++k)
      std::ranges::copy(
          all.at(static_cast<int>(k), source),
          drawn.logits.begin() + static_cast<std::ptrdiff_t>((k * images + i) * classes));
  }
  return drawn;
}

// Computes the exact rates and costs of thresholds on the whole population.
class ExactRates {
 public:
  // @param good  [K, M] 1 where stopping is good
  ExactRates(const Population& population, policy::ExitPredictions exit_predictions,
             std::vector<std::uint8_t> good)
      : population_(population), judged_(std::move(exit_predictions)), good_(std::move(good)) {}

  struct Sums {
    double not_good = 0, cost = 0;  // rate of images whose answer is not good; mean relative cost
  };
  Sums of(const policy::Thresholds& thresholds) const {
    const auto images = static_cast<std::size_t>(judged_.images);
    Sums sums;
    for (std::size_t i = 0; i < images; ++i) {
      std::size_t k = 0;
      while (k < thresholds.size() &&
             !(thresholds[k] && judged_.scores[k * images + i] >= *thresholds[k]))
        ++k;
      const double probability = population_.probability(i);
      sums.not_good += good_[k * images + i] != 0 ? 0.0 : probability;
      sums.cost += probability * population_.costs[k];
    }
    return sums;
  }

 private:
  const Population& population_;
  policy::ExitPredictions judged_;
  std::vector<std::uint8_t> good_;
};

// What a policy's answers are compared with.
struct Comparison {
  bool label_free = false;
  policy::HarmReference against = policy::HarmReference::last_exit;
};

std::vector<std::uint8_t> harmless_answers(const policy::Policy& policy,
                                           const policy::ExitPredictions& exit_predictions,
                                           const policy::LogitsView& view,
                                           const Comparison& comparison) {
  return policy::harmless_table(exit_predictions,
                                policy::reference_answers(policy, view, comparison.against),
                                view.labels, comparison.label_free);
}

// Counts the drawn images that each policy of the path harms.
std::vector<std::int64_t> harmed_along(const std::vector<policy::Thresholds>& path,
                                       const policy::Policy& policy, const Drawn& images,
                                       const Population& population, const Comparison& comparison) {
  const policy::ExitPredictions exit_predictions =
      policy::predict_exits(policy, images.logits, images.classes);
  const auto good = harmless_answers(policy, exit_predictions, images.view(), comparison);
  const policy::ExitTable table{exit_predictions.exits, exit_predictions.images,
                                exit_predictions.scores, good, population.costs};
  std::vector<std::int64_t> harmed;
  harmed.reserve(path.size());
  for (const policy::ThresholdOutcome& choice : policy::evaluate_threshold_path(table, path))
    harmed.push_back(exit_predictions.images - choice.good);
  return harmed;
}

std::vector<policy::Thresholds> path_on(const policy::Policy& policy, const Drawn& tune,
                                        const Population& population,
                                        const Comparison& comparison) {
  const policy::ExitPredictions exit_predictions =
      policy::predict_exits(policy, tune.logits, tune.classes);
  const auto good = harmless_answers(policy, exit_predictions, tune.view(), comparison);
  return policy::greedy_threshold_path({exit_predictions.exits, exit_predictions.images,
                                        exit_predictions.scores, good, population.costs},
                                       policy::kPathLevels);
}

}  // namespace

double Population::probability(std::size_t image) const {
  if (cumulative.empty()) return 1 / static_cast<double>(labels.size());
  return cumulative[image] - (image == 0 ? 0 : cumulative[image - 1]);
}

Population correlated_exits() {
  constexpr int kLevels = 100, kClasses = 5, kExits = 3, kSigns = 1 << kExits;
  constexpr double kTraps = 0.04, kSkill[kExits] = {0.72, 0.86, 0.97};
  std::vector<Kind> kinds;
  for (int level = 0; level < kLevels; ++level)
    for (int signs = 0; signs < kSigns; ++signs)
      for (const bool trap : {false, true})
        for (int label = 0; label < kClasses; ++label) {
          const double difficulty = (level + 0.5) / kLevels;
          const int rival = (label + 1 + level % (kClasses - 1)) % kClasses;
          Kind kind{(trap ? kTraps : 1 - kTraps) / (kLevels * kSigns * kClasses), label, {}};
          for (int k = 0; k < kExits; ++k) {
            double lead = 8 * (kSkill[k] - difficulty) + ((signs >> k & 1) != 0 ? 0.8 : -0.8);
            if (trap && k + 1 < kExits) lead = -(0.5 + 5 * (1 - difficulty));
            // The other classes have lower and different logits, so that there are no ties.
            std::vector<float> z = {-3, -3.25f, -3.5f, -3.75f, -4};
            z[static_cast<std::size_t>(label)] = static_cast<float>(lead / 2);
            z[static_cast<std::size_t>(rival)] = static_cast<float>(-lead / 2);
            kind.logits.push_back(std::move(z));
          }
          kinds.push_back(std::move(kind));
        }
  return population_of(kinds, {0.35, 0.65, 1});
}

Population two_score_population(double rate) {
  std::vector<Kind> kinds;
  const auto add = [&](double probability, double first_lead, double last_lead) {
    for (const std::int64_t label : {0, 1}) {
      Kind kind{probability / 2, label, {}};
      for (const double lead : {first_lead, last_lead}) {
        std::vector<float> z = {0, 0};
        z[static_cast<std::size_t>(label)] = static_cast<float>(lead / 2);
        z[static_cast<std::size_t>(1 - label)] = static_cast<float>(-lead / 2);
        kind.logits.push_back(std::move(z));
      }
      kinds.push_back(std::move(kind));
    }
  };
  add(rate, -4, 3);       // exit 1: high score and wrong
  add(0.5 - rate, 4, 3);  // exit 1: high score and correct
  add(0.2, -0.5, 3);      // exit 1: low score and wrong
  add(0.25, 0.5, 3);      // exit 1: low score and correct
  add(0.05, 0.5, -3);     // exit 1: low score and correct; the last exit is wrong
  return population_of(kinds, {0.4, 1});
}

Population independent_exits() {
  constexpr std::size_t kImages = 5000, kExits = 3, kClasses = 3;
  Population result{kExits, kClasses, {}, {}, {}, {0.3, 0.6, 1}};
  result.logits.resize(kExits * kImages * kClasses);
  for (std::size_t i = 0; i < kImages; ++i) {
    core::KeyedRandom random(5, i);
    const std::uint64_t label = random.below(kClasses);
    const std::uint64_t rival = (label + 1 + random.below(kClasses - 1)) % kClasses;
    result.labels.push_back(static_cast<std::int64_t>(label));
    const float difficulty = random.uniform();
    for (std::size_t k = 0; k < kExits; ++k) {
      const float skill = 0.7f + 0.1f * static_cast<float>(k);
      const float lead = 8 * (skill - difficulty) + random.uniform(-4, 4);
      float* z = result.logits.data() + (k * kImages + i) * kClasses;
      z[3 - label - rival] = -6;
      z[label] = lead / 2;
      z[rival] = -lead / 2;
    }
  }
  return result;
}

Population population_of_logits(const policy::LogitsView& saved, std::vector<double> costs) {
  if (costs.size() != static_cast<std::size_t>(saved.exits))
    throw Error(fmt::format("--costs: got {} values, expected one for each of {} exits",
                            costs.size(), saved.exits));
  Population result{saved.exits, saved.classes, {}, {}, {}, std::move(costs)};
  result.logits.assign(saved.logits.begin(), saved.logits.end());
  result.labels.assign(saved.labels.begin(), saved.labels.end());
  return result;
}

Trial run_trial(const Population& population, const TrialSettings& settings, std::uint64_t seed,
                std::uint64_t draw) {
  core::KeyedRandom random(seed, draw);
  const Drawn tune = draw_images(population, settings.tune_images, random);
  const Drawn certify_on = draw_images(population, settings.certify_images, random);
  Trial trial;
  int attempt = 0;
  for (const policy::PolicyOptions& shape : settings.shapes) {
    ++attempt;
    const policy::Policy policy = policy::fit_policy(shape, tune.view());
    const Comparison comparison{settings.label_free, shape.ensemble == policy::Ensemble::off
                                                         ? policy::HarmReference::last_exit
                                                         : settings.against};
    policy::ExitPredictions of_all =
        policy::predict_exits(policy, population.logits, population.classes);
    std::vector<std::uint8_t> harmless =
        harmless_answers(policy, of_all, population.view(), comparison);
    const ExactRates exact(population, std::move(of_all), std::move(harmless));
    const auto result_of = [&](const policy::Thresholds& thresholds) -> Result {
      const ExactRates::Sums sums = exact.of(thresholds);
      // A rate of exactly epsilon may be slightly above it after rounding.
      return {sums.not_good > settings.epsilon * (1 + 1e-9), 1 - sums.cost};
    };
    const policy::CertificationResult found =
        policy::guarantee(policy, tune.view(), certify_on.view(), population.costs,
                          {.epsilon = settings.epsilon,
                           .delta = settings.delta,
                           .label_free = settings.label_free,
                           .against = comparison.against},
                          attempt);
    // Where nothing is certified, the last exit alone answers, without the ensemble.
    const Result ours = found.holds() ? result_of(found.policy.thresholds)
                                      : Result{false, 1 - population.costs.back()};
    trial.ours.violated |= ours.violated;
    if (attempt > 1) continue;
    trial.ours.saved = ours.saved;

    const std::vector<policy::Thresholds> path = path_on(policy, tune, population, comparison);
    const auto harmed = harmed_along(path, policy, certify_on, population, comparison);
    const auto n = static_cast<double>(settings.certify_images);
    const double slack = std::sqrt(std::log(1 / found.level) / (2 * n));
    policy::Thresholds bounded = path.front(), boldest = path.front();
    bool passing = true;
    for (std::size_t m = 0; m < path.size(); ++m) {
      const double rate = static_cast<double>(harmed[m]) / n;
      passing = passing && rate + slack <= settings.epsilon;
      if (passing) bounded = path[m];
      if (rate <= settings.epsilon) boldest = path[m];
    }
    trial.hoeffding = result_of(bounded);
    trial.empirical = result_of(boldest);
  }
  return trial;
}

std::vector<Trial> run_trials(const Population& population, const TrialSettings& settings,
                              std::uint64_t seed, int draws) {
  std::vector<Trial> trials(static_cast<std::size_t>(draws));
  core::parallel_for(trials.size(),
                     [&](std::size_t i) { trials[i] = run_trial(population, settings, seed, i); });
  return trials;
}

std::vector<DropTrial> run_drop_trials(const Population& population, std::int64_t tune_images,
                                       double drop, std::uint64_t seed, int draws) {
  std::vector<DropTrial> trials(static_cast<std::size_t>(draws));
  core::parallel_for(trials.size(), [&](std::size_t draw) {
    core::KeyedRandom random(seed, draw);
    const Drawn tune = draw_images(population, tune_images, random);
    const policy::Policy policy = policy::fit_policy({}, tune.view());
    const policy::ExitPredictions exit_predictions =
        policy::predict_exits(policy, tune.logits, tune.classes);
    const std::vector<std::uint8_t> on_tune = policy::correct_table(exit_predictions, tune.labels);
    const policy::ExitTable table{exit_predictions.exits, exit_predictions.images,
                                  exit_predictions.scores, on_tune, population.costs};
    const policy::Thresholds never(policy.thresholds.size());
    const std::int64_t last = policy::evaluate_thresholds(table, never).good;
    const double least = static_cast<double>(last) - drop * static_cast<double>(tune_images);

    policy::ExitPredictions of_all =
        policy::predict_exits(policy, population.logits, population.classes);
    std::vector<std::uint8_t> correct = policy::correct_table(of_all, population.labels);
    const ExactRates exact(population, std::move(of_all), std::move(correct));
    const double missed = exact.of(never).not_good;
    const auto outcome = [&](const policy::Thresholds& thresholds) -> DropOutcome {
      const ExactRates::Sums sums = exact.of(thresholds);
      return {sums.not_good - missed, sums.cost};
    };
    const policy::ChosenThresholds chosen =
        policy::choose_thresholds(policy, tune.view(), population.costs, policy::AccuracyDrop{},
                                  least / static_cast<double>(tune_images));
    // The last policy of the path within the drop, on the images that the path was chosen on.
    policy::CrossValidatedPath path;
    path.fitted = policy::evaluate_threshold_path(table, path_on(policy, tune, population, {}));
    const auto least_right = static_cast<std::int64_t>(std::ceil(least - 1e-6));
    const policy::ThresholdOutcome& fitted =
        path.fitted[policy::cheapest_accurate_step(path, least_right).value()];
    const auto searched = policy::search_each(table, {.least_good = least_right});
    trials[draw] = {outcome(chosen.policy.thresholds), outcome(fitted.thresholds),
                    outcome(searched->thresholds)};
  });
  return trials;
}

BoundaryImages boundary_images(double rate, double epsilon, double delta, std::int64_t least,
                               std::int64_t most) {
  const double level = policy::level_of_tests({.epsilon = epsilon, .delta = delta}, 1);
  BoundaryImages best;
  for (std::int64_t n = least; n <= most; ++n) {
    std::int64_t allowed = -1;
    while (policy::binomial_cdf(allowed + 1, n, epsilon) <= level) ++allowed;
    const double violations = policy::binomial_cdf(allowed, n, rate);
    if (violations > best.violations) best = {n, violations};
  }
  return best;
}

}  // namespace offramp::trials
