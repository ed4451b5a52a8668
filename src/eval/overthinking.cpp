#include "eval/overthinking.h"

#include <numeric>

#include "core/error.h"
#include "eval/metrics.h"
#include "policy/policy.h"

namespace offramp::eval {
namespace {

std::int64_t sum(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

}  // namespace

std::int64_t OverthinkingCounts::oracle() const { return sum(first_correct); }
std::int64_t OverthinkingCounts::destructive() const { return sum(lost_after); }
std::int64_t OverthinkingCounts::wasteful() const {
  return oracle() - first_correct.back() - destructive();
}
std::int64_t OverthinkingCounts::errors() const { return images - oracle() + destructive(); }

double OverthinkingCounts::destroyed_errors() const {
  return errors() == 0 ? 0 : static_cast<double>(destructive()) / static_cast<double>(errors());
}

double OverthinkingCounts::needed_cost(const std::vector<double>& costs) const {
  OFFRAMP_ASSERT(costs.size() == first_correct.size());
  double total = 0;
  for (std::size_t k = 0; k < costs.size(); ++k)
    total += costs[k] * static_cast<double>(first_correct[k]);
  return oracle() == 0 ? 0 : total / static_cast<double>(oracle());
}

std::vector<OverthinkingCounts> overthinking_by_class(const policy::LogitsView& view) {
  check(view);
  const auto exits = static_cast<std::size_t>(view.exits);
  std::vector<OverthinkingCounts> rows(static_cast<std::size_t>(view.classes));
  for (OverthinkingCounts& row : rows) {
    row.first_correct.resize(exits);
    row.lost_after.resize(exits - 1);
  }
  for (std::int64_t image = 0; image < view.images(); ++image) {
    const std::int64_t label = view.labels[static_cast<std::size_t>(image)];
    OverthinkingCounts& row = rows[static_cast<std::size_t>(label)];
    ++row.images;
    int first = -1, last = -1;
    for (int k = 0; k < view.exits; ++k) {
      if (policy::argmax(view.at(k, image)) != label) continue;
      if (first < 0) first = k;
      last = k;
    }
    if (first < 0) continue;
    ++row.first_correct[static_cast<std::size_t>(first)];
    if (last + 1 < view.exits) ++row.lost_after[static_cast<std::size_t>(last)];
  }
  return rows;
}

OverthinkingCounts sum_of_counts(const std::vector<OverthinkingCounts>& groups) {
  OFFRAMP_ASSERT(!groups.empty());
  OverthinkingCounts all = groups.front();
  for (auto group = groups.begin() + 1; group != groups.end(); ++group) {
    all.images += group->images;
    for (std::size_t k = 0; k < all.first_correct.size(); ++k)
      all.first_correct[k] += group->first_correct[k];
    for (std::size_t k = 0; k < all.lost_after.size(); ++k)
      all.lost_after[k] += group->lost_after[k];
  }
  return all;
}

}  // namespace offramp::eval
