#include "policy/calibration.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <thread>

#include "core/error.h"
#include "policy/cross_fit.h"
#include "policy/temperature.h"

namespace offramp {
namespace {

constexpr double kLeastLevel = 1e-250;  // far from where doubles end

void check_view(const LogitsView& view, const char* name, bool labelled = true) {
  if (view.images() == 0) throw Error("{}: no image to calibrate on", name);
  const std::size_t cells = static_cast<std::size_t>(view.exits) * view.labels.size() *
                            static_cast<std::size_t>(view.classes);
  if (view.exits < 1 || view.classes < 1 || cells != view.logits.size())
    throw Error("{}: {} logits do not fit {} exits, {} images and {} classes", name,
                view.logits.size(), view.exits, view.images(), view.classes);
  if (!labelled) return;
  for (const std::int64_t label : view.labels)
    if (label < 0 || label >= view.classes)
      throw Error("{}: label {} is not one of {} classes", name, label, view.classes);
}

ExitTable table_of(const Judgements& judged, std::span<const std::uint8_t> good,
                   std::span<const double> costs) {
  if (costs.size() != static_cast<std::size_t>(judged.exits))
    throw Error("{} costs do not fit {} exits", costs.size(), judged.exits);
  return {judged.exits, judged.images, judged.scores, good, costs};
}

std::span<const float> logits_of_exit(const LogitsView& view, int exit_index) {
  const std::size_t cells = view.labels.size() * static_cast<std::size_t>(view.classes);
  return view.logits.subspan(static_cast<std::size_t>(exit_index) * cells, cells);
}

// Threads cost more than a few images do.
int threads_for(const LogitsView& view) {
  if (view.logits.size() < 1'000'000) return 1;
  const auto cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return std::min(cores, view.exits);
}

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

}  // namespace

Policy fit_policy(const PolicyShape& shape, const LogitsView& tune) {
  check_view(tune, "tune");
  Policy policy = never_stop(tune.exits);
  policy.criterion = shape.criterion;
  policy.ensemble = shape.ensemble;
  {
    // One exit knows nothing of another's temperature.
    std::vector<std::jthread> others;
    const auto fit = [&](int first, int step) {
      for (int k = first; k < tune.exits; k += step)
        policy.temperatures[static_cast<std::size_t>(k)] =
            static_cast<float>(fit_temperature(logits_of_exit(tune, k), tune.labels));
    };
    const int threads = threads_for(tune);
    for (int t = 1; t < threads; ++t) others.emplace_back(fit, t, threads);
    fit(0, threads);
  }
  if (shape.ensemble == Ensemble::weighted) policy.ensemble_weights = fitted_weights(policy, tune);
  return policy;
}

std::vector<std::uint8_t> right_table(const Judgements& judged,
                                      std::span<const std::int64_t> labels) {
  std::vector<std::uint8_t> right(judged.answers.size());
  for (std::size_t at = 0; at < right.size(); ++at)
    right[at] = judged.answers[at] == labels[at % labels.size()];
  return right;
}

std::vector<std::uint8_t> harmless_table(const Judgements& judged,
                                         std::span<const std::int64_t> labels, bool label_free) {
  const std::size_t images = labels.size();
  const std::size_t last = judged.answers.size() - images;
  std::vector<std::uint8_t> harmless(judged.answers.size());
  for (std::size_t at = 0; at < harmless.size(); ++at) {
    const std::size_t i = at % images;
    const bool same = judged.answers[at] == judged.answers[last + i];
    const bool last_wrong = judged.answers[last + i] != labels[i];
    harmless[at] = same || (!label_free && last_wrong);
  }
  return harmless;
}

Chosen choose_thresholds(const Policy& policy, const LogitsView& tune,
                         std::span<const double> costs, const ThresholdAim& aim) {
  check_view(tune, "tune");
  check(policy, tune.exits);
  const Judgements judged = judge(policy, tune.logits, tune.classes);
  const std::vector<std::uint8_t> right = right_table(judged, tune.labels);
  const ExitTable table = table_of(judged, right, costs);
  const auto images = static_cast<double>(tune.images());
  Chosen chosen;
  chosen.policy = policy;
  Choice choice = tally(table, Thresholds(policy.thresholds.size()));
  if (aim.threshold) {
    choice = tally(table, Thresholds(policy.thresholds.size(), *aim.threshold));
  } else if (aim.least_accuracy) {
    // A rate that stands for a whole number of images must not ask for one more.
    const auto least = static_cast<std::int64_t>(std::ceil(*aim.least_accuracy * images - 1e-6));
    const CrossFittedPath path =
        cross_fit(judged, right, harmless_table(judged, tune.labels, false), costs);
    const std::optional<std::size_t> step = boldest_keeping(path, least);
    chosen.met = step.has_value();
    if (step) choice = path.fitted[*step];
    if (step && !path.held_out_right.empty())
      chosen.held_out_accuracy = path.held_out_right[*step] / images;
  } else {
    OFFRAMP_ASSERT(aim.most_relative_cost.has_value());
    Aim wanted;
    wanted.most_cost = *aim.most_relative_cost * images;
    wanted.cheapest = false;
    const std::optional<Choice> shared = search_shared(table, wanted);
    const std::optional<Choice> each = search_each(table, wanted);
    chosen.met = each.has_value();
    // One threshold is the simpler rule: it stays where it is as good.
    const bool simpler =
        shared && each && shared->good >= each->good && shared->total_cost <= each->total_cost;
    if (each) choice = simpler ? *shared : *each;
  }
  chosen.policy.thresholds = choice.thresholds;
  chosen.accuracy = static_cast<double>(choice.good) / images;
  chosen.relative_cost = choice.total_cost / images;
  return chosen;
}

CertifiedPolicy guarantee(const Policy& policy, const LogitsView& tune, const LogitsView& certify,
                          std::span<const double> costs, const GuaranteeAim& aim) {
  check_view(tune, "tune");
  check_view(certify, "certify", !aim.label_free);
  check(policy, tune.exits);
  check(policy, certify.exits);
  if (!(aim.epsilon > 0 && aim.epsilon < 1))
    throw Error("epsilon: {} is not in (0, 1)", aim.epsilon);
  if (!(aim.delta > 0 && aim.delta < 1)) throw Error("delta: {} is not in (0, 1)", aim.delta);
  if (aim.attempt < 1) throw Error("attempt: {} is not at least 1", aim.attempt);
  CertifiedPolicy result;
  result.level = level_of_attempt(aim.delta, aim.attempt);
  if (!(result.level > kLeastLevel))
    throw Error("attempt {}: nothing of delta {} is left", aim.attempt, aim.delta);
  result.images = certify.images();
  result.images_needed = images_needed(aim.epsilon, result.level);
  result.policy = policy;
  result.policy.thresholds.assign(policy.thresholds.size(), std::nullopt);

  const Judgements on_tune = judge(policy, tune.logits, tune.classes);
  const auto tune_harmless = harmless_table(on_tune, tune.labels, aim.label_free);
  const std::vector<Thresholds> path =
      bold_path(table_of(on_tune, tune_harmless, costs), kPathLevels);
  result.path = static_cast<std::int64_t>(path.size());
  if (result.images < result.images_needed) return result;

  const Judgements judged = judge(policy, certify.logits, certify.classes);
  const auto harmless = harmless_table(judged, certify.labels, aim.label_free);
  const ExitTable table = table_of(judged, harmless, costs);
  std::vector<std::int64_t> harmed;
  harmed.reserve(path.size());
  for (const Choice& choice : tally_along(table, path))
    harmed.push_back(result.images - choice.good);
  result.certified = offramp::certify(harmed, result.images, aim.epsilon, result.level);
  if (result.certified) result.policy.thresholds = path[result.certified->index];
  return result;
}

}  // namespace offramp
