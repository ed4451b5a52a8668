#include "policy/policy.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "policy/class_math.h"
#include "policy/criteria.h"

namespace offramp {
namespace {

constexpr std::array<std::pair<Ensemble, std::string_view>, 4> kEnsembles = {
    {{Ensemble::off, "off"},
     {Ensemble::mean, "mean"},
     {Ensemble::geometric, "geometric"},
     {Ensemble::weighted, "weighted"}}};

// The value that a word stands for, of a list of values and their names.
template <typename Value>
Value value_of(const std::vector<std::pair<Value, std::string>>& words, std::string_view what,
               std::string_view word) {
  std::vector<std::string> known;
  for (const auto& [value, name] : words) {
    if (name == word) return value;
    known.push_back(name);
  }
  const std::string nearest = nearest_word(word, known);
  if (!nearest.empty())
    throw UsageError("unknown {} {}; did you mean \"{}\"?", what, quote(word), nearest);
  throw UsageError("unknown {} {}; known: {}", what, quote(word), fmt::join(known, ", "));
}

float entropy_score(std::span<const float> p) {
  if (p.size() == 1) return p[0];  // log C = 0: the only answer is as sure as its probability
  const double most = detail::logarithm(static_cast<double>(p.size()));
  // Rounding may leave the range by an ulp; NaN passes through and is never sure enough.
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
  throw Error("a criterion of several exits has no score of one");
}

int argmax(std::span<const float> values) {
  OFFRAMP_ASSERT(!values.empty());
  return static_cast<int>(detail::first_largest(values));
}

std::string_view to_string(Criterion criterion) { return info(criterion).name; }

Criterion criterion_from_string(std::string_view word) {
  std::vector<std::pair<Criterion, std::string>> words;
  for (const CriterionInfo& row : criteria()) words.emplace_back(row.criterion, row.name);
  return value_of(words, "criterion", word);
}

std::string_view to_string(Ensemble ensemble) {
  for (const auto& [value, name] : kEnsembles)
    if (value == ensemble) return name;
  throw Error("an ensemble without a name: {}", static_cast<int>(ensemble));
}

Ensemble ensemble_from_string(std::string_view word) {
  const std::vector<std::pair<Ensemble, std::string>> words(kEnsembles.begin(), kEnsembles.end());
  return value_of(words, "ensemble", word);
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
    throw Error("thresholds: {} do not fit {} early exits", policy.thresholds.size(), k - 1);
  for (const std::optional<float>& threshold : policy.thresholds)
    if (threshold && !std::isfinite(*threshold))
      throw Error("thresholds: {} is not a finite number", *threshold);
  if (policy.temperatures.size() != k)
    throw Error("temperatures: {} do not fit {} exits", policy.temperatures.size(), k);
  for (const float temperature : policy.temperatures)
    if (!(temperature > 0) || !std::isfinite(temperature))
      throw Error("temperatures: {} is not a finite number above 0", temperature);
  if (policy.ensemble_weights.size() != (policy.ensemble == Ensemble::weighted ? k : 0))
    throw Error("ensemble_weights: {} do not fit {} exits and the ensemble \"{}\"",
                policy.ensemble_weights.size(), k, to_string(policy.ensemble));
  for (const float weight : policy.ensemble_weights)
    if (!(weight >= 0) || !std::isfinite(weight))
      throw Error("ensemble_weights: {} is not a finite number of at least 0", weight);
  if (policy.ensemble == Ensemble::weighted && !(policy.ensemble_weights.front() > 0))
    throw Error("ensemble_weights: that of exit 1 must be above 0, or it has no answer");
}

namespace {

// Adds one exit's distribution to the sum, and writes the mean of all so far to p.
void join(const Policy& policy, int exit_index, std::span<const float> logits, Opinion& opinion) {
  const auto k = static_cast<std::size_t>(exit_index);
  const double temperature = policy.temperatures[k];
  const double weight =
      policy.ensemble == Ensemble::weighted ? static_cast<double>(policy.ensemble_weights[k]) : 1.0;
  opinion.weight += weight;
  const double largest = logits[detail::first_largest(logits)];
  std::vector<double>& e = opinion.scratch;
  const double total = detail::exponentials(logits, largest, temperature, e);
  if (policy.ensemble != Ensemble::geometric) {
    detail::add_weighted(e, total, weight, opinion.weight, opinion.sum, opinion.p);
    return;
  }
  detail::add_logarithms(logits, largest, temperature, detail::logarithm(total), opinion.sum);
  const double top = opinion.sum[detail::first_largest(opinion.sum)];
  detail::normalise(e, detail::exponentials(opinion.sum, top, opinion.weight, e), opinion.p);
}

}  // namespace

void listen(const Policy& policy, int exit_index, std::span<const float> logits, Opinion& opinion) {
  OFFRAMP_ASSERT(exit_index >= 0 && exit_index < policy.num_exits() && !logits.empty());
  const bool first = exit_index == 0;
  opinion.p.resize(logits.size());
  opinion.scratch.resize(logits.size());
  std::size_t answer = 0;
  if (policy.ensemble == Ensemble::off) {
    answer = detail::first_largest(logits);
    const float temperature = policy.temperatures[static_cast<std::size_t>(exit_index)];
    const double total = detail::exponentials(logits, logits[answer], temperature, opinion.scratch);
    detail::normalise(opinion.scratch, total, opinion.p);
  } else {
    if (first) {
      opinion.sum.assign(logits.size(), 0.0);
      opinion.weight = 0;
    }
    join(policy, exit_index, logits, opinion);
    // From the finer numbers: rounded probabilities may tie where these do not.
    answer = detail::first_largest(opinion.sum);
  }
  // An exit that says nothing agrees with none, before it or after.
  const bool agrees = !first && opinion.streak > 0 && static_cast<int>(answer) == opinion.answer;
  opinion.streak = std::isnan(opinion.p[answer]) ? 0 : agrees ? opinion.streak + 1 : 1;
  opinion.answer = static_cast<int>(answer);
}

float score(Criterion criterion, const Opinion& opinion) {
  const float largest = opinion.p[static_cast<std::size_t>(opinion.answer)];
  if (criterion == Criterion::confidence || std::isnan(largest)) return largest;
  if (criterion == Criterion::patience) return static_cast<float>(opinion.streak);
  return score(criterion, opinion.p);
}

bool consult(const Policy& policy, int exit_index, std::span<const float> logits,
             Opinion& opinion) {
  listen(policy, exit_index, logits, opinion);
  opinion.score = score(policy.criterion, opinion);
  if (exit_index + 1 == policy.num_exits()) return true;
  const std::optional<float>& threshold = policy.thresholds[static_cast<std::size_t>(exit_index)];
  return threshold && opinion.score >= *threshold;
}

}  // namespace offramp
