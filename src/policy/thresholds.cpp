#include "policy/thresholds.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "core/error.h"

namespace offramp {
namespace {

using Index = std::uint32_t;

// Work of the exhaustive part of search_each, in visits of an image.
constexpr double kMostVisits = 4e8;

bool better(const Aim& aim, std::int64_t good, double cost, const Choice& than) {
  if (aim.cheapest) return cost < than.total_cost || (cost == than.total_cost && good > than.good);
  return good > than.good || (good == than.good && cost < than.total_cost);
}

bool keeps_to(const Aim& aim, std::int64_t good, double cost) {
  // Costs are sums in another order here and there: a hair above the limit is the limit.
  return good >= aim.least_good && cost <= aim.most_cost * (1 + 1e-12);
}

// Searches over thresholds with what search_shared and search_each have in common.
class Search {
 public:
  Search(const ExitTable& table, const Aim& aim) : table_(table), aim_(aim) {
    OFFRAMP_ASSERT(table.exits >= 1 && table.images >= 0);
    OFFRAMP_ASSERT(table.scores.size() == cells() && table.good.size() == cells());
    OFFRAMP_ASSERT(table.costs.size() == exits());
    for (std::size_t k = 0; k + 1 < exits(); ++k) orders_.push_back(order_of(k));
  }

  std::size_t exits() const { return static_cast<std::size_t>(table_.exits); }
  std::size_t images() const { return static_cast<std::size_t>(table_.images); }
  std::size_t cells() const { return exits() * images(); }
  float score(std::size_t k, std::size_t i) const { return table_.scores[k * images() + i]; }
  int good(std::size_t k, std::size_t i) const { return table_.good[k * images() + i]; }
  /// Images by falling score at exit k; without those whose score is not a number.
  const std::vector<Index>& order(std::size_t k) const { return orders_[k]; }

  void offer(const Thresholds& thresholds, std::int64_t good, double cost) {
    if (!keeps_to(aim_, good, cost)) return;
    if (!best_ || better(aim_, good, cost, *best_)) best_ = Choice{thresholds, good, cost};
  }

  void shared() {
    // An image moves to an earlier exit when the threshold falls to a score that no exit before has
    // reached.
    struct Move {
      float threshold;
      double cost;
      int good;
    };
    std::vector<Move> moves;
    std::vector<std::pair<float, std::size_t>> records;
    double cost = static_cast<double>(images()) * table_.costs.back();
    std::int64_t good_images = 0;
    const std::size_t last = exits() - 1;
    for (std::size_t i = 0; i < images(); ++i) {
      good_images += good(last, i);
      records.clear();
      for (std::size_t k = 0; k < last; ++k)
        if (!std::isnan(score(k, i)) && (records.empty() || score(k, i) > records.back().first))
          records.emplace_back(score(k, i), k);
      std::size_t from = last;
      for (auto record = records.rbegin(); record != records.rend(); ++record) {
        const std::size_t k = record->second;
        moves.push_back(
            {record->first, table_.costs[k] - table_.costs[from], good(k, i) - good(from, i)});
        from = k;
      }
    }
    std::ranges::sort(moves,
                      [](const Move& a, const Move& b) { return a.threshold > b.threshold; });
    offer(Thresholds(last), good_images, cost);
    for (std::size_t m = 0; m < moves.size(); ++m) {
      cost += moves[m].cost;
      good_images += moves[m].good;
      const bool group_ends = m + 1 == moves.size() || moves[m + 1].threshold != moves[m].threshold;
      if (group_ends) offer(Thresholds(last, moves[m].threshold), good_images, cost);
    }
  }

  void each() {
    const std::size_t last = exits() - 1;
    if (last < 2) return;  // one threshold: shared() has seen all there is
    // Grids of the exits before the last early one; that one is swept exactly.
    const double visits = kMostVisits / std::max<double>(1, static_cast<double>(images()));
    const auto levels = static_cast<std::size_t>(std::clamp(
        std::floor(std::pow(visits, 1.0 / static_cast<double>(last - 1))) - 1, 1.0, 1e6));
    alive_.assign(images(), 1);
    thresholds_.assign(last, std::nullopt);
    std::int64_t good_last = 0;
    for (std::size_t i = 0; i < images(); ++i) good_last += good(last, i);
    descend(0, levels, {images(), good_last, 0, 0});
  }

  // Sweeps one exit's threshold with all others as they are, until that helps no more.
  void polish() {
    if (!best_) return;
    for (bool improved = true; improved;) {
      improved = false;
      for (std::size_t k = 0; k + 1 < exits(); ++k) {
        const Choice before = *best_;
        sweep_one(k, before.thresholds);
        improved |= better(aim_, best_->good, best_->total_cost, before);
      }
    }
  }

  const std::optional<Choice>& best() const { return best_; }

 private:
  std::vector<Index> order_of(std::size_t k) const {
    std::vector<Index> order;
    for (std::size_t i = 0; i < images(); ++i)
      if (!std::isnan(score(k, i))) order.push_back(static_cast<Index>(i));
    std::ranges::sort(order, [&](Index a, Index b) {
      return score(k, a) > score(k, b) || (score(k, a) == score(k, b) && a < b);
    });
    return order;
  }

  // Images that have not left yet, how many of them the last exit is good for, and what those that
  // left have brought.
  struct Rest {
    std::size_t alive;
    std::int64_t good_at_last;
    std::int64_t good_left;
    double cost_left;
  };

  void descend(std::size_t k, std::size_t levels, Rest rest) {
    const std::size_t last = exits() - 1;
    const bool exact = k + 1 == last;
    const std::vector<Index>& order = orders_[k];
    const std::size_t stride = exact ? 1 : std::max<std::size_t>(1, order.size() / levels);
    const auto visit = [&] {
      if (exact)
        offer(thresholds_, rest.good_left + rest.good_at_last,
              rest.cost_left + static_cast<double>(rest.alive) * table_.costs[last]);
      else
        descend(k + 1, levels, rest);
    };
    visit();
    std::size_t since = 0;
    std::vector<Index> left;
    for (std::size_t position = 0; position < order.size(); ++position) {
      const Index i = order[position];
      ++since;
      if (alive_[i]) {
        if (!exact) {
          alive_[i] = 0;
          left.push_back(i);
        }
        --rest.alive;
        rest.good_at_last -= good(last, i);
        rest.good_left += good(k, i);
        rest.cost_left += table_.costs[k];
      }
      const float here = score(k, i);
      if (position + 1 < order.size() && score(k, order[position + 1]) == here) continue;
      if (since < stride && position + 1 < order.size()) continue;
      since = 0;
      thresholds_[k] = here;
      visit();
    }
    thresholds_[k].reset();
    for (const Index i : left) alive_[i] = 1;
  }

  std::size_t exit_from(std::size_t first, std::size_t i, const Thresholds& thresholds) const {
    for (std::size_t k = first; k + 1 < exits(); ++k)
      if (thresholds[k] && score(k, i) >= *thresholds[k]) return k;
    return exits() - 1;
  }

  void sweep_one(std::size_t k, Thresholds thresholds) {
    thresholds[k].reset();
    std::int64_t good_images = 0;
    double cost = 0;
    std::vector<std::size_t> place(images());
    for (std::size_t i = 0; i < images(); ++i) {
      place[i] = exit_from(0, i, thresholds);
      good_images += good(place[i], i);
      cost += table_.costs[place[i]];
    }
    offer(thresholds, good_images, cost);
    const std::vector<Index>& order = orders_[k];
    for (std::size_t position = 0; position < order.size(); ++position) {
      const Index i = order[position];
      if (place[i] > k) {
        good_images += good(k, i) - good(place[i], i);
        cost += table_.costs[k] - table_.costs[place[i]];
      }
      const float here = score(k, i);
      if (position + 1 < order.size() && score(k, order[position + 1]) == here) continue;
      thresholds[k] = here;
      offer(thresholds, good_images, cost);
    }
  }

  const ExitTable& table_;
  const Aim& aim_;
  std::vector<std::vector<Index>> orders_;
  std::optional<Choice> best_;
  std::vector<std::uint8_t> alive_;
  Thresholds thresholds_;
};

}  // namespace

Judgements judge(const Policy& policy, std::span<const float> logits, int classes) {
  const auto c = static_cast<std::size_t>(classes);
  const auto exits = static_cast<std::size_t>(policy.num_exits());
  OFFRAMP_ASSERT(classes > 0 && logits.size() % (c * exits) == 0);
  Judgements result;
  result.exits = policy.num_exits();
  const std::size_t images = logits.size() / c / exits;
  result.images = static_cast<std::int64_t>(images);
  result.scores.resize(exits * images);
  result.answers.resize(exits * images);
  Opinion opinion;
  for (std::size_t i = 0; i < images; ++i)
    for (std::size_t k = 0; k < exits; ++k) {
      consult(policy, static_cast<int>(k), logits.subspan((k * images + i) * c, c), opinion);
      result.scores[k * images + i] = opinion.score;
      result.answers[k * images + i] = opinion.answer;
    }
  return result;
}

Choice apply(const ExitTable& table, const Thresholds& thresholds) {
  const auto exits = static_cast<std::size_t>(table.exits);
  const auto images = static_cast<std::size_t>(table.images);
  OFFRAMP_ASSERT(thresholds.size() + 1 == exits);
  Choice choice{thresholds, 0, 0};
  for (std::size_t i = 0; i < images; ++i) {
    std::size_t k = 0;
    while (k + 1 < exits && !(thresholds[k] && table.scores[k * images + i] >= *thresholds[k])) ++k;
    choice.good += table.good[k * images + i];
    choice.total_cost += table.costs[k];
  }
  return choice;
}

std::optional<Choice> search_shared(const ExitTable& table, const Aim& aim) {
  Search search(table, aim);
  search.shared();
  return search.best();
}

std::optional<Choice> search_each(const ExitTable& table, const Aim& aim) {
  Search search(table, aim);
  search.shared();
  search.each();
  search.polish();
  return search.best();
}

std::vector<Thresholds> bold_path(const ExitTable& table, int levels) {
  OFFRAMP_ASSERT(levels >= 1);
  const auto exits = static_cast<std::size_t>(table.exits);
  const auto images = static_cast<std::size_t>(table.images);
  std::vector<std::vector<float>> grid(exits - 1);  // falling quantiles of each exit's scores
  for (std::size_t k = 0; k + 1 < exits; ++k) {
    std::vector<float> scores;
    for (const float value : table.scores.subspan(k * images, images))
      if (!std::isnan(value)) scores.push_back(value);
    std::ranges::sort(scores, std::greater{});
    for (int level = 1; level <= levels && !scores.empty(); ++level) {
      const std::size_t at =
          scores.size() * static_cast<std::size_t>(level) / static_cast<std::size_t>(levels);
      const float value = scores[std::max<std::size_t>(at, 1) - 1];
      if (grid[k].empty() || value < grid[k].back()) grid[k].push_back(value);
    }
  }
  std::vector<std::size_t> next(exits - 1, 0);
  std::vector<Thresholds> path = {Thresholds(exits - 1)};
  Choice now = apply(table, path.back());
  for (;;) {
    std::optional<Choice> best;
    std::size_t best_exit = 0;
    double best_gain = 0;
    for (std::size_t k = 0; k + 1 < exits; ++k) {
      if (next[k] == grid[k].size()) continue;
      Thresholds bolder = now.thresholds;
      bolder[k] = grid[k][next[k]];
      const Choice choice = apply(table, bolder);
      const auto lost = static_cast<double>(std::max<std::int64_t>(0, now.good - choice.good));
      const double gain = (now.total_cost - choice.total_cost) / (lost + 1);
      if (!best || gain > best_gain) {
        best = choice;
        best_exit = k;
        best_gain = gain;
      }
    }
    if (!best) return path;
    ++next[best_exit];
    now = *best;
    path.push_back(now.thresholds);
  }
}

}  // namespace offramp
