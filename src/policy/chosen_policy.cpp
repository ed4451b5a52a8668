#include "policy/chosen_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "policy/binomial.h"

namespace offramp::policy {
namespace {

void check_seen(const TuneExitShares& seen, int exits) {
  if (seen.shares.size() != static_cast<std::size_t>(exits))
    throw Error(fmt::format("seen.shares: got {}, expected {}: one for each exit",
                            seen.shares.size(), exits));
  const double sum = std::accumulate(seen.shares.begin(), seen.shares.end(), 0.0);
  if (!(std::abs(sum - 1) < 1e-6))
    throw Error(fmt::format("seen.shares: the sum is {}, expected 1", sum));
}

/// Whether no threshold of `after` is higher than that of `before`, or missing where `before` has
/// one.
bool has_no_higher_threshold(const Thresholds& after, const Thresholds& before) {
  for (std::size_t k = 0; k < before.size(); ++k)
    if (before[k] && !(after[k] && *after[k] <= *before[k])) return false;
  return true;
}

void check_path(const ChosenPolicy& chosen) {
  const std::vector<PathStep>& steps = chosen.path->steps;
  const std::size_t at = chosen.path->chosen;
  if (!chosen.guarantee) throw Error("path: a path needs a guarantee, and there is none");
  if (at >= steps.size() || at + 2 < steps.size())
    throw Error(
        fmt::format("path.chosen: got {}, expected the last or the last but one of {} steps", at,
                    steps.size()));
  const std::size_t exits = chosen.policy.thresholds.size();
  for (std::size_t m = 0; m < steps.size(); ++m) {
    if (steps[m].thresholds.size() != exits)
      throw Error(
          fmt::format("path.steps[{}].thresholds: got {}, expected {}: one for each early exit", m,
                      steps[m].thresholds.size(), exits));
    if (m > 0 && !has_no_higher_threshold(steps[m].thresholds, steps[m - 1].thresholds))
      throw Error(fmt::format(
          "path.steps[{}].thresholds: a threshold is higher than in the step before", m));
    if (steps[m].counted > chosen.guarantee->images)
      throw Error(fmt::format("path.steps[{}].counted: got {}, but there are only {} images", m,
                              steps[m].counted, chosen.guarantee->images));
    if (steps[m].disagreed.has_value() != chosen.guarantee->disagreement.has_value())
      throw Error(
          fmt::format("path.steps[{}].disagreed: expected a value if and only if the guarantee "
                      "has a bound on disagreement",
                      m));
    if (steps[m].disagreed && *steps[m].disagreed > chosen.guarantee->images)
      throw Error(fmt::format("path.steps[{}].disagreed: got {}, but there are only {} images", m,
                              *steps[m].disagreed, chosen.guarantee->images));
  }
  if (steps[at].disagreed && *steps[at].disagreed != chosen.guarantee->disagreement->counted)
    throw Error(fmt::format("path.steps[{}].disagreed: got {}, but the guarantee has {}", at,
                            *steps[at].disagreed, chosen.guarantee->disagreement->counted));
  if (steps[at].thresholds != chosen.policy.thresholds)
    throw Error(
        fmt::format("path.steps[{}].thresholds: the chosen step and the policy differ", at));
  if (steps[at].counted != chosen.guarantee->counted)
    throw Error(fmt::format("path.steps[{}].counted: got {}, but the guarantee has {}", at,
                            steps[at].counted, chosen.guarantee->counted));
}

}  // namespace

std::optional<double> disagreement_bound(const Guarantee& guarantee) {
  if (guarantee.of == "disagreement") return guarantee.epsilon;
  if (guarantee.disagreement) return guarantee.disagreement->upper_bound;
  return std::nullopt;
}

std::vector<double> disagreement_bounds(const ChosenPolicy& chosen) {
  std::vector<double> bounds;
  if (!chosen.guarantee || !chosen.path || !disagreement_bound(*chosen.guarantee)) return bounds;
  const Guarantee& given = *chosen.guarantee;
  for (std::size_t m = 0; m <= chosen.path->chosen; ++m)
    bounds.push_back(given.disagreement
                         ? clopper_pearson_upper(*chosen.path->steps[m].disagreed, given.images,
                                                 given.disagreement->level)
                         : given.epsilon);
  return bounds;
}

HarmReference harm_reference(const ChosenPolicy& chosen) {
  if (chosen.policy.ensemble == Ensemble::off) return HarmReference::last_exit;
  if (chosen.guarantee) return chosen.guarantee->against;
  const auto* aim = chosen.aim ? std::get_if<HarmGuarantee>(&*chosen.aim) : nullptr;
  return aim ? aim->against : HarmReference::last_exit;
}

void check(const ChosenPolicy& chosen, int exits) {
  check(chosen.policy, exits);
  if (chosen.guarantee && chosen.guarantee->against == HarmReference::ensemble &&
      chosen.policy.ensemble == Ensemble::off)
    throw Error("guarantee.against: got \"ensemble\", but the policy has no ensemble");
  if (chosen.seen) check_seen(*chosen.seen, exits);
  if (chosen.path) check_path(chosen);
}

std::string describe(const Policy& policy) {
  if (std::ranges::none_of(policy.thresholds, [](const auto& each) { return each.has_value(); }))
    return "every image goes to the last exit";
  std::string text;
  const bool shared = std::ranges::adjacent_find(policy.thresholds, std::not_equal_to<>()) ==
                      policy.thresholds.end();
  for (std::size_t k = 0; k < policy.thresholds.size(); ++k) {
    if (shared && k > 0) break;
    const auto& threshold = policy.thresholds[k];
    text += (k == 0 ? "" : ", ") + (threshold ? fmt::format("{:.4g}", *threshold) : "never");
  }
  std::string result = fmt::format("stop where {} ≥ {}", to_string(policy.criterion), text);
  if (policy.ensemble != Ensemble::off)
    result += fmt::format(", {} of the exits so far",
                          policy.ensemble == Ensemble::mean
                              ? "mean"
                              : std::string(to_string(policy.ensemble)) + " mean");
  return result;
}

std::string describe(const Guarantee& guarantee) {
  std::optional<double> bound;
  if (guarantee.disagreement) bound = guarantee.disagreement->upper_bound;
  return describe_bounds({.epsilon = guarantee.epsilon,
                          .delta = guarantee.delta,
                          .label_free = guarantee.of == "disagreement",
                          .against = guarantee.against},
                         bound);
}
}  // namespace offramp::policy
