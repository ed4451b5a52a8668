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

namespace offramp {
namespace {

constexpr std::array<std::pair<Criterion, std::string_view>, 4> kCriteria = {
    {{Criterion::confidence, "confidence"},
     {Criterion::entropy, "entropy"},
     {Criterion::margin, "margin"},
     {Criterion::patience, "patience"}}};
constexpr std::array<std::pair<Ensemble, std::string_view>, 4> kEnsembles = {
    {{Ensemble::off, "off"},
     {Ensemble::mean, "mean"},
     {Ensemble::geometric, "geometric"},
     {Ensemble::weighted, "weighted"}}};

template <typename Words>
auto value_of(const Words& words, std::string_view what, std::string_view word) {
  std::vector<std::string> known;
  for (const auto& [value, name] : words) {
    if (name == word) return value;
    known.emplace_back(name);
  }
  const std::string nearest = nearest_word(word, known);
  if (!nearest.empty())
    throw UsageError("unknown {} {}; did you mean \"{}\"?", what, quote(word), nearest);
  throw UsageError("unknown {} {}; known: {}", what, quote(word), fmt::join(known, ", "));
}

template <typename Words, typename Value>
std::string_view word_of(const Words& words, Value value) {
  for (const auto& [known, word] : words)
    if (known == value) return word;
  throw Error("a value without a name: {}", static_cast<int>(value));
}

float entropy_score(std::span<const float> p) {
  if (p.size() == 1) return p[0];  // log C = 0: the only answer is as sure as its probability
  double entropy = 0;
  for (float value : p)
    if (value != 0) entropy -= static_cast<double>(value) * std::log(static_cast<double>(value));
  // Rounding may leave the range by an ulp; NaN passes through and is never sure enough.
  return static_cast<float>(
      std::clamp(1 - entropy / std::log(static_cast<double>(p.size())), 0.0, 1.0));
}

float margin_score(std::span<const float> p) {
  float first = p[0], second = 0;
  for (float value : p.subspan(1)) {
    // Written so that a NaN anywhere makes the margin NaN.
    if (!(value <= first)) {
      second = first;
      first = value;
    } else if (!(value <= second)) {
      second = value;
    }
  }
  return first - second;
}

}  // namespace

void softmax(std::span<const float> logits, float temperature, std::span<float> p) {
  OFFRAMP_ASSERT(logits.size() == p.size() && !p.empty());
  OFFRAMP_ASSERT(temperature > 0);
  const double largest = logits[static_cast<std::size_t>(argmax(logits))];
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += std::exp((logits[i] - largest) / temperature);
  // A second exponential instead of a buffer: nothing is allocated, and p may be the logits.
  for (std::size_t i = 0; i < p.size(); ++i)
    p[i] = static_cast<float>(std::exp((logits[i] - largest) / temperature) / sum);
}

float score(Criterion criterion, std::span<const float> p) {
  OFFRAMP_ASSERT(!p.empty());
  switch (criterion) {
    case Criterion::confidence:
      return p[static_cast<std::size_t>(argmax(p))];
    case Criterion::entropy:
      return entropy_score(p);
    case Criterion::margin:
      return margin_score(p);
    case Criterion::patience:
      break;
  }
  throw Error("a criterion of several exits has no score of one");
}

int argmax(std::span<const float> values) {
  OFFRAMP_ASSERT(!values.empty());
  std::size_t best = 0;
  for (std::size_t i = 1; i < values.size(); ++i)
    if (values[i] > values[best] || (std::isnan(values[best]) && !std::isnan(values[i]))) best = i;
  return static_cast<int>(best);
}

std::string_view to_string(Criterion criterion) { return word_of(kCriteria, criterion); }

Criterion criterion_from_string(std::string_view word) {
  return value_of(kCriteria, "criterion", word);
}

std::string_view to_string(Ensemble ensemble) { return word_of(kEnsembles, ensemble); }

Ensemble ensemble_from_string(std::string_view word) {
  return value_of(kEnsembles, "ensemble", word);
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

// exp((z - largest) / T) of each class; returns their sum.
double exponentials(std::span<const float> logits, double largest, double temperature,
                    std::vector<double>& out) {
  out.resize(logits.size());
  double sum = 0;
  for (std::size_t c = 0; c < logits.size(); ++c)
    sum += out[c] = std::exp((logits[c] - largest) / temperature);
  return sum;
}

// Adds one exit's distribution to the sum, and writes the mean of all so far to p.
void join(const Policy& policy, int exit_index, std::span<const float> logits, Opinion& opinion) {
  const auto k = static_cast<std::size_t>(exit_index);
  const std::size_t classes = logits.size();
  const double temperature = policy.temperatures[k];
  const double weight =
      policy.ensemble == Ensemble::weighted ? static_cast<double>(policy.ensemble_weights[k]) : 1.0;
  opinion.weight += weight;
  const double largest = logits[static_cast<std::size_t>(argmax(logits))];
  std::vector<double>& e = opinion.scratch;
  const double total = exponentials(logits, largest, temperature, e);
  if (policy.ensemble != Ensemble::geometric) {
    for (std::size_t c = 0; c < classes; ++c) {
      opinion.sum[c] += weight * (e[c] / total);
      opinion.p[c] = static_cast<float>(opinion.sum[c] / opinion.weight);
    }
    return;
  }
  const double log_total = std::log(total);
  for (std::size_t c = 0; c < classes; ++c)
    opinion.sum[c] += (logits[c] - largest) / temperature - log_total;
  const double top = *std::ranges::max_element(opinion.sum);
  double norm = 0;
  for (std::size_t c = 0; c < classes; ++c)
    norm += e[c] = std::exp((opinion.sum[c] - top) / opinion.weight);
  for (std::size_t c = 0; c < classes; ++c) opinion.p[c] = static_cast<float>(e[c] / norm);
}

}  // namespace

void listen(const Policy& policy, int exit_index, std::span<const float> logits, Opinion& opinion) {
  OFFRAMP_ASSERT(exit_index >= 0 && exit_index < policy.num_exits() && !logits.empty());
  const bool first = exit_index == 0;
  opinion.p.resize(logits.size());
  int answer = 0;
  if (policy.ensemble == Ensemble::off) {
    answer = argmax(logits);
    const double total =
        exponentials(logits, logits[static_cast<std::size_t>(answer)],
                     policy.temperatures[static_cast<std::size_t>(exit_index)], opinion.scratch);
    for (std::size_t c = 0; c < logits.size(); ++c)
      opinion.p[c] = static_cast<float>(opinion.scratch[c] / total);
  } else {
    if (first) {
      opinion.sum.assign(logits.size(), 0.0);
      opinion.weight = 0;
    }
    join(policy, exit_index, logits, opinion);
    // From the finer numbers: rounded probabilities may tie where these do not.
    answer = static_cast<int>(std::ranges::max_element(opinion.sum) - opinion.sum.begin());
  }
  opinion.streak = first || answer != opinion.answer ? 1 : opinion.streak + 1;
  opinion.answer = answer;
}

float score(Criterion criterion, const Opinion& opinion) {
  return criterion == Criterion::patience ? static_cast<float>(opinion.streak)
                                          : score(criterion, opinion.p);
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
