#include "policy/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/text.h"
#include "policy/class_math.h"
#include "policy/criteria.h"

namespace offramp::policy {
namespace {

constexpr std::array<std::pair<Ensemble, std::string_view>, 4> kEnsembles = {
    {{Ensemble::off, "off"},
     {Ensemble::mean, "mean"},
     {Ensemble::geometric, "geometric"},
     {Ensemble::weighted, "weighted"}}};

float entropy_score(std::span<const float> p) {
  if (p.size() == 1) return p[0];  // log C = 0, so the probability itself is the score
  const double most = detail::logarithm(static_cast<double>(p.size()));
  // Rounding may leave [0, 1] by one ulp. std::clamp returns NaN unchanged, and NaN reaches no
  // threshold.
  return static_cast<float>(std::clamp(1 - detail::entropy(p) / most, 0.0, 1.0));
}

}  // namespace

void softmax(std::span<const float> logits, float temperature, std::span<float> p) {
  OFFRAMP_ASSERT(logits.size() == p.size() && !p.empty());
  OFFRAMP_ASSERT(temperature > 0);
  std::vector<double> e(logits.size());
  const double total =
      detail::exponentials(logits, logits[detail::first_largest(logits)], temperature, e);
  detail::normalise(e, total, p);
}

float score(Criterion criterion, std::span<const float> p) {
  OFFRAMP_ASSERT(!p.empty());
  switch (criterion) {
    case Criterion::confidence:
      return p[detail::first_largest(p)];
    case Criterion::entropy:
      return entropy_score(p);
    case Criterion::margin:
      return detail::margin(p);
    case Criterion::patience:
      break;
  }
  throw Error("the criterion patience has no score for a single exit");
}

int argmax(std::span<const float> values) {
  OFFRAMP_ASSERT(!values.empty());
  return static_cast<int>(detail::first_largest(values));
}

std::string_view to_string(Criterion criterion) { return info(criterion).name; }

Criterion criterion_from_string(std::string_view word) {
  std::vector<std::pair<Criterion, std::string>> words;
  for (const CriterionInfo& row : criteria()) words.emplace_back(row.criterion, row.name);
  return core::find_by_name(words, "criterion", word);
}

std::string_view to_string(Ensemble ensemble) {
  for (const auto& [value, name] : kEnsembles)
    if (value == ensemble) return name;
  throw Error(fmt::format("ensemble {} has no name", static_cast<int>(ensemble)));
}

Ensemble ensemble_from_string(std::string_view word) {
  return core::find_by_name(kEnsembles, "ensemble", word);
}

Policy never_stop(int exits) {
  OFFRAMP_ASSERT(exits >= 1);
  Policy policy;
  policy.thresholds.resize(static_cast<std::size_t>(exits) - 1);
  policy.temperatures.assign(static_cast<std::size_t>(exits), 1.0f);
  return policy;
}

void check(const Policy& policy, int exits) {
  const auto k = static_cast<std::size_t>(exits);
  if (policy.thresholds.size() + 1 != k)
    throw Error(fmt::format("thresholds: got {}, expected {}: one for each early exit",
                            policy.thresholds.size(), k - 1));
  for (const std::optional<float>& threshold : policy.thresholds)
    if (threshold && !std::isfinite(*threshold))
      throw Error(fmt::format("thresholds: expected finite numbers, got {}", *threshold));
  if (policy.temperatures.size() != k)
    throw Error(fmt::format("temperatures: got {}, expected {}: one for each exit",
                            policy.temperatures.size(), k));
  for (const float temperature : policy.temperatures)
    if (!(temperature > 0) || !std::isfinite(temperature))
      throw Error(
          fmt::format("temperatures: expected finite numbers above 0, got {}", temperature));
  if (policy.ensemble_weights.size() != (policy.ensemble == Ensemble::weighted ? k : 0))
    throw Error(fmt::format(
        "ensemble_weights: got {}, expected {} if the ensemble is weighted and none otherwise; it "
        "is "
        "\"{}\"",
        policy.ensemble_weights.size(), k, to_string(policy.ensemble)));
  for (const float weight : policy.ensemble_weights)
    if (!(weight >= 0) || !std::isfinite(weight))
      throw Error(
          fmt::format("ensemble_weights: expected finite numbers of at least 0, got {}", weight));
  if (policy.ensemble == Ensemble::weighted && !(policy.ensemble_weights.front() > 0))
    throw Error(
        "ensemble_weights: the weight of exit 1 must be above 0, because no other exit precedes "
        "it");
}

namespace {

// Adds the probabilities of one exit to the ensemble and writes the mean of all exits so far to
// exit_state.p.
void join(const Policy& policy, int exit_index, std::span<const float> logits,
          ExitState& exit_state) {
  const auto k = static_cast<std::size_t>(exit_index);
  const double temperature = policy.temperatures[k];
  const double weight =
      policy.ensemble == Ensemble::weighted ? static_cast<double>(policy.ensemble_weights[k]) : 1.0;
  exit_state.weight += weight;
  const double largest = logits[detail::first_largest(logits)];
  std::vector<double>& e = exit_state.scratch;
  const double total = detail::exponentials(logits, largest, temperature, e);
  if (policy.ensemble != Ensemble::geometric) {
    detail::add_weighted(e, total, weight, exit_state.weight, exit_state.sum, exit_state.p);
    return;
  }
  detail::add_logarithms(logits, largest, temperature, detail::logarithm(total), exit_state.sum);
  const double top = exit_state.sum[detail::first_largest(exit_state.sum)];
  detail::normalise(e, detail::exponentials(exit_state.sum, top, exit_state.weight, e),
                    exit_state.p);
}

}  // namespace

void update_exit_state(const Policy& policy, int exit_index, std::span<const float> logits,
                       ExitState& exit_state) {
  OFFRAMP_ASSERT(exit_index >= 0 && exit_index < policy.num_exits() && !logits.empty());
  const bool first = exit_index == 0;
  exit_state.p.resize(logits.size());
  exit_state.scratch.resize(logits.size());
  std::size_t answer = 0;
  if (policy.ensemble == Ensemble::off) {
    answer = detail::first_largest(logits);
    const float temperature = policy.temperatures[static_cast<std::size_t>(exit_index)];
    const double total =
        detail::exponentials(logits, logits[answer], temperature, exit_state.scratch);
    detail::normalise(exit_state.scratch, total, exit_state.p);
  } else {
    if (first) {
      exit_state.sum.assign(logits.size(), 0.0);
      exit_state.weight = 0;
    }
    join(policy, exit_index, logits, exit_state);
    // The sums are in double: the probabilities in float may be equal where the sums differ.
    answer = detail::first_largest(exit_state.sum);
  }
  // An exit whose probabilities are NaN agrees with no other exit.
  const bool agrees =
      !first && exit_state.agreeing_exits > 0 && static_cast<int>(answer) == exit_state.answer;
  exit_state.agreeing_exits = std::isnan(exit_state.p[answer]) ? 0
                              : agrees                         ? exit_state.agreeing_exits + 1
                                                               : 1;
  exit_state.answer = static_cast<int>(answer);
}

float score(Criterion criterion, const ExitState& exit_state) {
  const float largest = exit_state.p[static_cast<std::size_t>(exit_state.answer)];
  if (criterion == Criterion::confidence || std::isnan(largest)) return largest;
  if (criterion == Criterion::patience) return static_cast<float>(exit_state.agreeing_exits);
  return score(criterion, exit_state.p);
}

bool should_exit(const Policy& policy, int exit_index, std::span<const float> logits,
                 ExitState& exit_state) {
  update_exit_state(policy, exit_index, logits, exit_state);
  exit_state.score = score(policy.criterion, exit_state);
  if (exit_index + 1 == policy.num_exits()) return true;
  const std::optional<float>& threshold = policy.thresholds[static_cast<std::size_t>(exit_index)];
  return threshold && exit_state.score >= *threshold;
}

}  // namespace offramp::policy
