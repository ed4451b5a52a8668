#include "policy/policy.h"

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

constexpr std::array<std::pair<Criterion, std::string_view>, 3> kCriteria = {
    {{Criterion::confidence, "confidence"},
     {Criterion::entropy, "entropy"},
     {Criterion::margin, "margin"}}};

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
  }
  throw Error("unknown criterion");
}

int argmax(std::span<const float> values) {
  OFFRAMP_ASSERT(!values.empty());
  std::size_t best = 0;
  for (std::size_t i = 1; i < values.size(); ++i)
    if (values[i] > values[best] || (std::isnan(values[best]) && !std::isnan(values[i]))) best = i;
  return static_cast<int>(best);
}

std::string_view to_string(Criterion criterion) {
  for (const auto& [value, word] : kCriteria)
    if (value == criterion) return word;
  throw Error("unknown criterion");
}

Criterion criterion_from_string(std::string_view word) {
  std::vector<std::string> known;
  for (const auto& [value, name] : kCriteria) {
    if (name == word) return value;
    known.emplace_back(name);
  }
  const std::string nearest = nearest_word(word, known);
  if (!nearest.empty())
    throw UsageError("unknown criterion {}; did you mean \"{}\"?", quote(word), nearest);
  throw UsageError("unknown criterion {}; known: confidence, entropy, margin", quote(word));
}

}  // namespace offramp
