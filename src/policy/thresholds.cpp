#include "policy/thresholds.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "core/error.h"

namespace offramp::policy {
namespace {

using Index = std::uint32_t;

// The largest number of image visits in the exhaustive part of search_each().
constexpr double kMostVisits = 2e8;

bool better(const SearchGoal& goal, std::int64_t good, double cost, const ThresholdOutcome& than) {
  if (goal.cheapest) return cost < than.total_cost || (cost == than.total_cost && good > than.good);
  return good > than.good || (good == than.good && cost < than.total_cost);
}

bool within_limits(const SearchGoal& goal, std::int64_t good, double cost) {
  // The tolerance allows for rounding: costs are sums whose order differs between callers.
  return good >= goal.least_good && cost <= goal.most_cost * (1 + 1e-12);
}

// Returns the total cost of the images that stopped at each exit. The sum is always in the order of
// the exits, so equal counts give the same bits in every search.
double cost_of(std::span<const std::int64_t> stopped, std::span<const double> costs) {
  double cost = 0;
  for (std::size_t k = 0; k < costs.size(); ++k) cost += static_cast<double>(stopped[k]) * costs[k];
  return cost;
}

// Returns the images in the order of decreasing score at one exit, images with equal scores in the
// order of their index. Images whose score is NaN are left out.
std::vector<Index> sorted_by_score(std::span<const float> scores) {
  std::vector<Index> order;
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (!std::isnan(scores[i])) order.push_back(static_cast<Index>(i));
  std::ranges::sort(order, [&](Index a, Index b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  });
  return order;
}

// The searches of search_shared() and search_each(), which keep one best choice.
class Search {
 public:
  Search(const ExitTable& table, const SearchGoal& goal) : table_(table), goal_(goal) {
    OFFRAMP_ASSERT(table.exits >= 1 && table.images >= 0);
    OFFRAMP_ASSERT(table.scores.size() == cells() && table.good.size() == cells());
    OFFRAMP_ASSERT(table.costs.size() == exits());
    for (std::size_t k = 0; k + 1 < exits(); ++k)
      orders_.push_back(sorted_by_score(table.scores.subspan(k * images(), images())));
  }

  std::size_t exits() const { return static_cast<std::size_t>(table_.exits); }
  std::size_t images() const { return static_cast<std::size_t>(table_.images); }
  std::size_t cells() const { return exits() * images(); }
  float score(std::size_t k, std::size_t i) const { return table_.scores[k * images() + i]; }
  int good(std::size_t k, std::size_t i) const { return table_.good[k * images() + i]; }

  void consider(const Thresholds& thresholds, std::int64_t good, double cost) {
    if (!within_limits(goal_, good, cost)) return;
    if (!best_ || better(goal_, good, cost, *best_))
      best_ = ThresholdOutcome{thresholds, good, cost};
  }

  void shared() {
    // As the threshold decreases, an image moves to an earlier exit each time it reaches a score of
    // that exit which is above the scores of all exits before.
    struct Move {
      float threshold;
      std::size_t from, to;
      int good;
    };
    std::vector<Move> moves;
    std::vector<std::pair<float, std::size_t>> records;
    std::vector<std::int64_t> stopped(exits());
    const std::size_t last = exits() - 1;
    stopped[last] = table_.images;
    std::int64_t good_images = 0;
    for (std::size_t i = 0; i < images(); ++i) {
      good_images += good(last, i);
      records.clear();
      for (std::size_t k = 0; k < last; ++k)
        if (!std::isnan(score(k, i)) && (records.empty() || score(k, i) > records.back().first))
          records.emplace_back(score(k, i), k);
      std::size_t from = last;
      for (auto record = records.rbegin(); record != records.rend(); ++record) {
        const std::size_t k = record->second;
        moves.push_back({record->first, from, k, good(k, i) - good(from, i)});
        from = k;
      }
    }
    std::ranges::sort(moves,
                      [](const Move& a, const Move& b) { return a.threshold > b.threshold; });
    consider(Thresholds(last), good_images, cost_of(stopped, table_.costs));
    for (std::size_t m = 0; m < moves.size(); ++m) {
      --stopped[moves[m].from];
      ++stopped[moves[m].to];
      good_images += moves[m].good;
      const bool group_ends = m + 1 == moves.size() || moves[m + 1].threshold != moves[m].threshold;
      if (group_ends)
        consider(Thresholds(last, moves[m].threshold), good_images, cost_of(stopped, table_.costs));
    }
  }

  void each() {
    const std::size_t last = exits() - 1;
    if (last < 2) return;  // with at most one early exit, shared() is exhaustive
    // The last early exit tries every score; the exits before it use a grid.
    const double visits = kMostVisits / std::max<double>(1, static_cast<double>(images()));
    const auto levels = static_cast<std::size_t>(std::clamp(
        std::floor(std::pow(visits, 1.0 / static_cast<double>(last - 1))) - 1, 1.0, 1e6));
    remaining_.assign(images(), 1);
    thresholds_.assign(last, std::nullopt);
    std::int64_t good_last = 0;
    for (std::size_t i = 0; i < images(); ++i) good_last += good(last, i);
    search_grid(0, levels, {images(), good_last, 0, 0});
  }

  // Optimises the threshold of one exit after the other, with the others fixed, until no change
  // improves the result.
  void improve_each_exit() {
    if (!best_) return;
    for (bool improved = true; improved;) {
      improved = false;
      for (std::size_t k = 0; k + 1 < exits(); ++k) {
        const ThresholdOutcome before = *best_;
        sweep_one(k, before.thresholds);
        improved |= better(goal_, best_->good, best_->total_cost, before);
      }
    }
  }

  const std::optional<ThresholdOutcome>& best() const { return best_; }

 private:
  // The intermediate result of the grid search after the thresholds of some exits were chosen.
  struct PartialOutcome {
    std::size_t num_remaining;  // images that have not stopped yet
    std::int64_t good_at_last;  // number of these for which the last exit is good
    std::int64_t good_stopped;  // good images among those that have stopped
    double cost_stopped;        // cost of those that have stopped, summed as in cost_of()
  };

  void search_grid(std::size_t k, std::size_t levels, PartialOutcome partial) {
    const std::size_t last = exits() - 1;
    const bool exact = k + 1 == last;
    const std::vector<Index>& order = orders_[k];
    const std::size_t stride = exact ? 1 : std::max<std::size_t>(1, order.size() / levels);
    std::int64_t stopped = 0;
    const auto visit = [&] {
      PartialOutcome next = partial;
      next.cost_stopped += static_cast<double>(stopped) * table_.costs[k];
      if (exact)
        consider(thresholds_, next.good_stopped + next.good_at_last,
                 next.cost_stopped + static_cast<double>(next.num_remaining) * table_.costs[last]);
      else if (may_improve(k + 1, next))
        search_grid(k + 1, levels, next);
    };
    visit();
    std::size_t since = 0;
    bool changed = false;
    std::vector<Index> left;
    for (std::size_t position = 0; position < order.size() && partial.num_remaining > 0;
         ++position) {
      const Index i = order[position];
      ++since;
      if (remaining_[i]) {
        changed = true;
        if (!exact) {
          remaining_[i] = 0;
          left.push_back(i);
        }
        --partial.num_remaining;
        partial.good_at_last -= good(last, i);
        partial.good_stopped += good(k, i);
        ++stopped;
      }
      const float here = score(k, i);
      const bool ends = position + 1 == order.size() || partial.num_remaining == 0;
      if (!ends && score(k, order[position + 1]) == here) continue;
      if (!changed || (!ends && since < stride)) continue;
      since = 0;
      changed = false;
      thresholds_[k] = here;
      visit();
    }
    thresholds_[k].reset();
    for (const Index i : left) remaining_[i] = 1;
  }

  // Whether an optimistic estimate for the exits from `k` on is within the limits and better than
  // the best choice so far. If not, the search skips them.
  bool may_improve(std::size_t k, const PartialOutcome& partial) const {
    const double least_cost = *std::min_element(
        table_.costs.begin() + static_cast<std::ptrdiff_t>(k), table_.costs.end());
    const auto num_remaining = static_cast<std::int64_t>(partial.num_remaining);
    const std::int64_t most_good = partial.good_stopped + num_remaining;
    // The factor allows for rounding, because costs may be added in another order.
    const double cost =
        (partial.cost_stopped + static_cast<double>(num_remaining) * least_cost) * (1 - 1e-12);
    return within_limits(goal_, most_good, cost) &&
           (!best_ || better(goal_, most_good, cost, *best_));
  }

  std::size_t exit_from(std::size_t first, std::size_t i, const Thresholds& thresholds) const {
    for (std::size_t k = first; k + 1 < exits(); ++k)
      if (thresholds[k] && score(k, i) >= *thresholds[k]) return k;
    return exits() - 1;
  }

  void sweep_one(std::size_t k, Thresholds thresholds) {
    thresholds[k].reset();
    std::int64_t good_images = 0;
    std::vector<std::int64_t> stopped(exits());
    std::vector<std::size_t> exit_of_image(images());
    for (std::size_t i = 0; i < images(); ++i) {
      exit_of_image[i] = exit_from(0, i, thresholds);
      good_images += good(exit_of_image[i], i);
      ++stopped[exit_of_image[i]];
    }
    consider(thresholds, good_images, cost_of(stopped, table_.costs));
    const std::vector<Index>& order = orders_[k];
    for (std::size_t position = 0; position < order.size(); ++position) {
      const Index i = order[position];
      if (exit_of_image[i] > k) {
        good_images += good(k, i) - good(exit_of_image[i], i);
        --stopped[exit_of_image[i]];
        ++stopped[k];
      }
      const float here = score(k, i);
      if (position + 1 < order.size() && score(k, order[position + 1]) == here) continue;
      thresholds[k] = here;
      consider(thresholds, good_images, cost_of(stopped, table_.costs));
    }
  }

  const ExitTable& table_;
  const SearchGoal& goal_;
  std::vector<std::vector<Index>> orders_;
  std::optional<ThresholdOutcome> best_;
  std::vector<std::uint8_t> remaining_;
  Thresholds thresholds_;
};

}  // namespace

ExitPredictions predict_exits(const Policy& policy, std::span<const float> logits, int classes) {
  const auto c = static_cast<std::size_t>(classes);
  const auto exits = static_cast<std::size_t>(policy.num_exits());
  OFFRAMP_ASSERT(classes > 0 && logits.size() % (c * exits) == 0);
  ExitPredictions result;
  result.exits = policy.num_exits();
  const std::size_t images = logits.size() / c / exits;
  result.images = static_cast<std::int64_t>(images);
  result.scores.resize(exits * images);
  result.answers.resize(exits * images);
  ExitState exit_state;
  for (std::size_t i = 0; i < images; ++i)
    for (std::size_t k = 0; k < exits; ++k) {
      should_exit(policy, static_cast<int>(k), logits.subspan((k * images + i) * c, c), exit_state);
      result.scores[k * images + i] = exit_state.score;
      result.answers[k * images + i] = exit_state.answer;
    }
  return result;
}

ThresholdOutcome evaluate_thresholds(const ExitTable& table, const Thresholds& thresholds) {
  const auto exits = static_cast<std::size_t>(table.exits);
  const auto images = static_cast<std::size_t>(table.images);
  OFFRAMP_ASSERT(thresholds.size() + 1 == exits);
  ThresholdOutcome choice{thresholds, 0, 0};
  std::vector<std::int64_t> stopped(exits);
  for (std::size_t i = 0; i < images; ++i) {
    std::size_t k = 0;
    while (k + 1 < exits && !(thresholds[k] && table.scores[k * images + i] >= *thresholds[k])) ++k;
    choice.good += table.good[k * images + i];
    ++stopped[k];
  }
  choice.total_cost = cost_of(stopped, table.costs);
  return choice;
}

std::vector<ThresholdOutcome> evaluate_threshold_path(const ExitTable& table,
                                                      const std::vector<Thresholds>& path) {
  const auto exits = static_cast<std::size_t>(table.exits);
  const auto images = static_cast<std::size_t>(table.images);
  const std::size_t last = exits - 1;
  std::vector<std::vector<Index>> orders;
  for (std::size_t k = 0; k < last; ++k)
    orders.push_back(sorted_by_score(table.scores.subspan(k * images, images)));
  std::vector<std::size_t> exit_of_image(images, last), begin(last);
  std::vector<std::int64_t> stopped(exits);
  stopped[last] = table.images;
  std::int64_t good = 0;
  for (std::size_t i = 0; i < images; ++i) good += table.good[last * images + i];
  std::vector<ThresholdOutcome> choices;
  choices.reserve(path.size());
  for (const Thresholds& thresholds : path) {
    OFFRAMP_ASSERT(thresholds.size() == last);
    for (std::size_t k = 0; k < last; ++k)
      for (; thresholds[k] && begin[k] < orders[k].size(); ++begin[k]) {
        const Index i = orders[k][begin[k]];
        if (table.scores[k * images + i] < *thresholds[k]) break;
        if (exit_of_image[i] <= k) continue;
        good += table.good[k * images + i] - table.good[exit_of_image[i] * images + i];
        --stopped[exit_of_image[i]];
        ++stopped[k];
        exit_of_image[i] = k;
      }
    choices.push_back({thresholds, good, cost_of(stopped, table.costs)});
  }
  return choices;
}

std::optional<ThresholdOutcome> search_shared(const ExitTable& table, const SearchGoal& goal) {
  Search search(table, goal);
  search.shared();
  return search.best();
}

std::optional<ThresholdOutcome> search_each(const ExitTable& table, const SearchGoal& goal) {
  Search search(table, goal);
  search.shared();
  // This starts from the shared threshold; the next call starts from the best of the grid.
  search.improve_each_exit();
  search.each();
  search.improve_each_exit();
  return search.best();
}

std::vector<Thresholds> greedy_threshold_path(const ExitTable& table, int levels) {
  OFFRAMP_ASSERT(levels >= 1);
  const auto exits = static_cast<std::size_t>(table.exits);
  const auto images = static_cast<std::size_t>(table.images);
  const std::size_t last = exits - 1;
  // The levels to which the path can lower the threshold of one early exit.
  struct ExitLevels {
    // Images by decreasing score. Those that have stopped at this exit or earlier may be left out.
    std::vector<Index> order;
    std::vector<std::size_t> ends;  // for each level, how many images of `order` reach it
    std::vector<float> thresholds;  // threshold of each level
    std::size_t reached = 0;        // levels that the path has reached so far
  };
  std::vector<ExitLevels> levels_of(last);
  for (std::size_t k = 0; k < last; ++k) {
    const auto scores = table.scores.subspan(k * images, images);
    levels_of[k].order = sorted_by_score(scores);
    const std::size_t size = levels_of[k].order.size();
    std::size_t end = 0;
    for (std::size_t level = 1; end < size; ++level) {
      const std::size_t wanted = size * level / static_cast<std::size_t>(levels);
      if (std::max<std::size_t>(wanted, 1) <= end) continue;
      end = std::max<std::size_t>(wanted, 1);
      while (end < size && scores[levels_of[k].order[end]] == scores[levels_of[k].order[end - 1]])
        ++end;
      levels_of[k].ends.push_back(end);
      levels_of[k].thresholds.push_back(scores[levels_of[k].order[end - 1]]);
    }
  }

  std::vector<std::size_t> exit_of_image(images, last);
  std::vector<std::int64_t> stopped(exits);
  stopped[last] = table.images;
  const auto begin_of = [&](std::size_t k) {
    return levels_of[k].reached == 0 ? 0 : levels_of[k].ends[levels_of[k].reached - 1];
  };
  // Leaves out the images that no level of exit k can move any more.
  const auto compact = [&](std::size_t k) {
    ExitLevels& of = levels_of[k];
    std::size_t kept = 0, at = 0;
    for (std::size_t& end : of.ends) {
      for (; at < end; ++at)
        if (exit_of_image[of.order[at]] > k) of.order[kept++] = of.order[at];
      end = kept;
    }
    of.order.resize(kept);
  };
  // Returns the largest ratio of saved cost to good images lost + 1 over all levels to which exit
  // k's threshold could be lowered. The next level alone would mislead: its images may have stopped
  // earlier already, or many images may share its score.
  const auto largest_gain = [&](std::size_t k) {
    const ExitLevels& of = levels_of[k];
    const double cost = cost_of(stopped, table.costs);
    std::vector<std::int64_t> then = stopped;
    std::int64_t lost = 0;
    double most = 0;
    std::size_t at = begin_of(k), num_stopped = 0;
    for (std::size_t level = of.reached; level < of.ends.size(); ++level) {
      bool moved = false;
      for (; at < of.ends[level]; ++at) {
        const Index i = of.order[at];
        if (exit_of_image[i] <= k) {
          ++num_stopped;
          continue;
        }
        moved = true;
        --then[exit_of_image[i]];
        ++then[k];
        lost += table.good[exit_of_image[i] * images + i] - table.good[k * images + i];
      }
      if (!moved) continue;  // the ratio is then that of the level before, or 0
      most = std::max(most, (cost - cost_of(then, table.costs)) /
                                static_cast<double>(std::max<std::int64_t>(lost, 0) + 1));
    }
    if (4 * num_stopped > of.order.size()) compact(k);
    return most;
  };
  std::vector<Thresholds> path = {Thresholds(last)};
  for (;;) {
    std::optional<std::size_t> best;
    double best_gain = 0;
    for (std::size_t k = 0; k < last; ++k) {
      if (levels_of[k].reached == levels_of[k].ends.size()) continue;
      const double gain = largest_gain(k);
      if (best && gain <= best_gain) continue;
      best = k;
      best_gain = gain;
    }
    if (!best) return path;
    const std::size_t k = *best;
    for (std::size_t at = begin_of(k); at < levels_of[k].ends[levels_of[k].reached]; ++at) {
      const Index i = levels_of[k].order[at];
      if (exit_of_image[i] <= k) continue;
      --stopped[exit_of_image[i]];
      ++stopped[k];
      exit_of_image[i] = k;
    }
    path.push_back(path.back());
    path.back()[k] = levels_of[k].thresholds[levels_of[k].reached];
    ++levels_of[k].reached;
  }
}

}  // namespace offramp::policy
