#include "eval/baselines.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "policy/policy.h"

namespace offramp::eval {
namespace {

void check_sizes(std::size_t labels, std::size_t policy) {
  if (labels == 0) throw Error("no image to compare on");
  if (labels != policy)
    throw Error(fmt::format("got {} predictions for {} images", policy, labels));
}

void check_exits(const policy::LogitsView& view, std::size_t values) {
  if (values != static_cast<std::size_t>(view.exits))
    throw Error(fmt::format("got {} values, expected {}: one for each exit", values, view.exits));
}

}  // namespace

Baseline compare_with_baseline(std::span<const std::int64_t> labels,
                               std::span<const std::int64_t> policy,
                               std::span<const std::int64_t> answers, double relative_cost) {
  check_sizes(labels.size(), policy.size());
  check_sizes(labels.size(), answers.size());
  std::int64_t correct = 0, gained = 0, lost = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const bool ours = policy[i] == labels[i], theirs = answers[i] == labels[i];
    correct += theirs;
    gained += ours && !theirs;
    lost += theirs && !ours;
  }
  const auto n = static_cast<std::int64_t>(labels.size());
  Baseline control;
  control.accuracy = static_cast<double>(correct) / static_cast<double>(n);
  control.relative_cost = relative_cost;
  control.accuracy_interval = wilson(correct, n);
  control.difference = static_cast<double>(gained - lost) / static_cast<double>(n);
  control.difference_interval = paired_difference(gained, lost, n);
  return control;
}

Baseline random_exits(const policy::LogitsView& view, std::span<const std::int64_t> policy,
                      std::span<const double> shares, std::span<const double> costs) {
  check_sizes(view.labels.size(), policy.size());
  check_exits(view, shares.size());
  check_exits(view, costs.size());
  Baseline control;
  for (std::size_t k = 0; k < shares.size(); ++k) control.relative_cost += shares[k] * costs[k];
  // The difference of one image is 1 or 0 for the policy (correct or not), minus the probability
  // that a random exit is correct.
  double sum = 0, squares = 0, correct = 0;
  for (std::int64_t i = 0; i < view.images(); ++i) {
    const std::int64_t label = view.labels[static_cast<std::size_t>(i)];
    double expected = 0;
    for (int k = 0; k < view.exits; ++k)
      if (policy::argmax(view.at(k, i)) == label) expected += shares[static_cast<std::size_t>(k)];
    const double d = (policy[static_cast<std::size_t>(i)] == label ? 1.0 : 0.0) - expected;
    correct += expected;
    sum += d;
    squares += d * d;
  }
  const auto n = static_cast<double>(view.images());
  control.accuracy = correct / n;
  control.difference = sum / n;
  const double variance = std::max(0.0, squares / n - control.difference * control.difference);
  const double half = kNormalQuantile975 * std::sqrt(variance / n);
  control.difference_interval = {control.difference - half, control.difference + half};
  return control;
}

Baseline oracle(const policy::LogitsView& view, std::span<const std::int64_t> policy,
                std::span<const double> costs) {
  check_sizes(view.labels.size(), policy.size());
  check_exits(view, costs.size());
  std::vector<std::int64_t> answers;
  double cost = 0;
  for (std::int64_t i = 0; i < view.images(); ++i) {
    const std::int64_t label = view.labels[static_cast<std::size_t>(i)];
    int k = 0;
    while (k < view.exits && policy::argmax(view.at(k, i)) != label) ++k;
    const bool named = k < view.exits;
    answers.push_back(named ? label : policy::argmax(view.at(0, i)));
    cost += costs[static_cast<std::size_t>(named ? k : 0)];
  }
  return compare_with_baseline(view.labels, policy, answers,
                               cost / static_cast<double>(view.images()));
}

}  // namespace offramp::eval
