#include "policy/exit_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/overloaded.h"
#include "core/parallel.h"
#include "policy/cross_validate.h"
#include "policy/predict_guarantee.h"
#include "policy/thresholds.h"

namespace offramp::policy {
namespace {

constexpr int kLevels = 16;       // quantiles of an exit's scores in the dynamic program
constexpr int kMostProposed = 6;  // largest number of exits that the dynamic program proposes
constexpr int kPrices = 24;       // values of the price of a lost answer

using Bits = std::vector<std::uint64_t>;

std::int64_t count_of(const Bits& a, const Bits& b) {
  std::int64_t sum = 0;
  for (std::size_t w = 0; w < a.size(); ++w) sum += std::popcount(a[w] & b[w]);
  return sum;
}

/// The scores of all candidates and their evaluation, from which any set of exits is evaluated.
class Candidates {
 public:
  Candidates(const Policy& policy, const LogitsView& tune, const CandidateCosts& costs,
             const ExitSearchOptions& options)
      : costs_(costs),
        options_(options),
        predictions_(predict_exits(policy, tune.logits, tune.classes)),
        correct_(correct_table(predictions_, tune.labels)),
        harmless_(harmless_table(predictions_,
                                 reference_answers(policy, tune, HarmReference::last_exit),
                                 tune.labels, is_label_free(options.aim))) {
    std::visit(core::overloaded{
                   [](const FixedThreshold&) {
                     throw UsageError("aim: exits cannot be chosen for a fixed threshold");
                   },
                   [&](const AccuracyDrop& aim) {
                     // The tolerance keeps rounding from requiring one image more.
                     const double least = accuracy_of_last() - aim.max_drop;
                     least_good_ = static_cast<std::int64_t>(
                         std::ceil(least * static_cast<double>(images()) - 1e-6));
                   },
                   [&](const MaxCost&) { least_good_ = 0; },
                   [&](const HarmGuarantee& aim) {
                     const std::int64_t most = max_certifiable_count(
                         options.certify_images, aim.epsilon, level_of_tests(aim, options.attempt));
                     // At most this share of the images may be harmed: most / certify_images.
                     least_good_ = most < 0 ? images() + 1
                                            : images() - most * images() / options.certify_images;
                   }},
               options.aim);
  }

  int early() const { return predictions_.exits - 1; }
  std::int64_t images() const { return predictions_.images; }
  const CandidateCosts& costs() const { return costs_; }
  double body(int k) const { return costs_.body[static_cast<std::size_t>(k)]; }
  double head(int k) const { return costs_.head[static_cast<std::size_t>(k)]; }
  int place(int k) const { return costs_.place[static_cast<std::size_t>(k)]; }
  float score(int k, std::int64_t image) const { return predictions_.scores[cell(k, image)]; }
  /// Returns 1 if stopping the image at exit k is good for the aim, otherwise 0.
  int good(int k, std::int64_t image) const { return good_table()[cell(k, image)]; }

  SetValue evaluate(const ExitSet& set) const {
    SetValue value;
    value.set = set;
    value.accuracy = static_cast<double>(good_at_last()) / static_cast<double>(images());
    if (set.empty()) {
      const auto* budget = std::get_if<MaxCost>(&options_.aim);
      value.met = budget == nullptr || budget->max_relative_cost >= 1;
      return value;
    }
    const std::vector<double> costs = costs_of_set(costs_, set);
    const ExitPredictions predictions = rows(set);
    const std::vector<std::uint8_t> good = rows(good_table(), set), harmless = rows(harmless_, set);
    // Several sets are evaluated at the same time, each on one thread.
    const CrossValidatedPath path = cross_validate(predictions, good, harmless, costs, 1);
    const auto n = static_cast<double>(images());
    const auto cost = [&](std::size_t step) { return path.fitted[step].total_cost / n; };
    const auto correct = [&](std::size_t step) {
      return path.cross_validated_correct.empty() ? static_cast<double>(path.fitted[step].good)
                                                  : path.cross_validated_correct[step];
    };
    const auto* budget = std::get_if<MaxCost>(&options_.aim);
    const std::optional<std::size_t> best =
        budget != nullptr ? most_accurate_step(path, images(), budget->max_relative_cost)
                          : cheapest_accurate_step(path, least_good_);
    value.met = best.has_value();
    value.relative_cost = cost(best.value_or(0));
    value.accuracy = correct(best.value_or(0)) / n;
    return value;
  }

 private:
  static bool is_label_free(const Aim& aim) {
    const auto* harm = std::get_if<HarmGuarantee>(&aim);
    return harm != nullptr && harm->label_free;
  }

  std::size_t cell(int k, std::int64_t image) const {
    return static_cast<std::size_t>(k) * static_cast<std::size_t>(images()) +
           static_cast<std::size_t>(image);
  }
  const std::vector<std::uint8_t>& good_table() const {
    return std::holds_alternative<HarmGuarantee>(options_.aim) ? harmless_ : correct_;
  }
  std::int64_t good_at_last() const {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < images(); ++i) sum += good(early(), i);
    return sum;
  }
  double accuracy_of_last() const {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < images(); ++i) sum += correct_[cell(early(), i)];
    return static_cast<double>(sum) / static_cast<double>(images());
  }

  /// The rows of the exits of a set and of the last exit.
  template <typename T>
  std::vector<T> rows(const std::vector<T>& table, const ExitSet& set) const {
    std::vector<T> result;
    const auto add = [&](int k) {
      const auto begin = table.begin() + static_cast<std::ptrdiff_t>(cell(k, 0));
      result.insert(result.end(), begin, begin + static_cast<std::ptrdiff_t>(images()));
    };
    for (const int k : set) add(k);
    add(early());
    return result;
  }
  ExitPredictions rows(const ExitSet& set) const {
    return {static_cast<int>(set.size()) + 1, images(), rows(predictions_.scores, set),
            rows(predictions_.answers, set)};
  }

  const CandidateCosts& costs_;
  const ExitSearchOptions& options_;
  ExitPredictions predictions_;
  std::vector<std::uint8_t> correct_, harmless_;  // [K, N]
  std::int64_t least_good_ = 0;
};

/// Proposes sets by dynamic programming, see search_exits().
class Proposals {
 public:
  Proposals(const Candidates& candidates, int max_threads)
      : candidates_(candidates),
        max_threads_(max_threads),
        words_(static_cast<std::size_t>(candidates.images() + 63) / 64),
        states_(static_cast<std::size_t>(candidates.early()) * kLevels) {
    fill_bits();
    fill_transitions();
  }

  std::set<ExitSet> propose(int most_exits) const {
    std::set<ExitSet> sets;
    for (int i = 0; i < kPrices; ++i)
      propose(std::pow(10.0, -1 + 4.0 * i / (kPrices - 1)), most_exits, sets);
    return sets;
  }

 private:
  // A state is an early exit with a threshold: k * kLevels + level. The start is states_.
  struct Transition {
    // Cost of the layers and the head on the way to the next exit, for all images that continue.
    float cost = 0;
    float lost = 0;  // number of good answers lost by the images that stop at the exit
  };

  int exit_of(std::size_t state) const { return static_cast<int>(state / kLevels); }

  void fill_bits() {
    const std::int64_t n = candidates_.images();
    waiting_.assign(states_ + 1, Bits(words_));
    lost_.assign(static_cast<std::size_t>(candidates_.early()), Bits(words_));
    gained_ = lost_;
    const auto set = [](Bits& bits, std::int64_t i) {
      bits[static_cast<std::size_t>(i) / 64] |= std::uint64_t{1} << (i % 64);
    };
    for (std::int64_t i = 0; i < n; ++i) set(waiting_[states_], i);
    std::vector<float> sorted;
    for (int k = 0; k < candidates_.early(); ++k) {
      sorted.clear();
      for (std::int64_t i = 0; i < n; ++i) sorted.push_back(candidates_.score(k, i));
      std::ranges::sort(sorted, std::greater<>());
      for (int level = 0; level < kLevels; ++level) {
        const auto at = static_cast<std::size_t>((level + 1) * (n - 1) / (kLevels + 1));
        Bits& bits = waiting_[static_cast<std::size_t>(k * kLevels + level)];
        for (std::int64_t i = 0; i < n; ++i)
          if (!(candidates_.score(k, i) >= sorted[at])) set(bits, i);
      }
      for (std::int64_t i = 0; i < n; ++i) {
        const int last = candidates_.good(candidates_.early(), i), here = candidates_.good(k, i);
        if (last > here) set(lost_[static_cast<std::size_t>(k)], i);
        if (here > last) set(gained_[static_cast<std::size_t>(k)], i);
      }
    }
  }

  bool can_follow(std::size_t from, int k) const {
    return from == states_ || candidates_.place(exit_of(from)) < candidates_.place(k);
  }

  void fill_transitions() {
    transitions_.resize((states_ + 1) * states_);
    end_cost_.resize(states_ + 1);
    core::parallel_for(
        states_ + 1,
        [&](std::size_t from) {
          const Bits& in = waiting_[from];
          const auto count = static_cast<double>(count_of(in, in));
          const double start = from == states_ ? 0 : candidates_.body(exit_of(from));
          end_cost_[from] = count * (candidates_.body(candidates_.early()) +
                                     candidates_.head(candidates_.early()) - start);
          Bits stopped(words_);
          for (std::size_t to = 0; to < states_; ++to) {
            const int k = exit_of(to);
            if (!can_follow(from, k)) continue;
            for (std::size_t w = 0; w < words_; ++w) stopped[w] = in[w] & ~waiting_[to][w];
            const auto at = static_cast<std::size_t>(k);
            transitions_[from * states_ + to] = {
                static_cast<float>(count * (candidates_.body(k) + candidates_.head(k) - start)),
                static_cast<float>(count_of(stopped, lost_[at]) - count_of(stopped, gained_[at]))};
          }
        },
        max_threads_);
  }

  // Finds the best set of each number of exits for one price of a lost answer.
  void propose(double price, int most_exits, std::set<ExitSet>& sets) const {
    constexpr double kNever = std::numeric_limits<double>::infinity();
    // value[m][state]: the least cost from this state on, if m more exits follow.
    std::vector<double> value = end_cost_;
    std::vector<std::vector<std::size_t>> next;  // [m - 1][state]
    for (int m = 1; m <= most_exits; ++m) {
      std::vector<double> longer(states_ + 1, kNever);
      next.emplace_back(states_ + 1, states_);
      for (std::size_t from = 0; from <= states_; ++from)
        for (std::size_t to = 0; to < states_; ++to) {
          if (!can_follow(from, exit_of(to))) continue;
          const Transition& step = transitions_[from * states_ + to];
          const double total =
              static_cast<double>(step.cost) + price * static_cast<double>(step.lost) + value[to];
          if (total >= longer[from]) continue;
          longer[from] = total;
          next.back()[from] = to;
        }
      value = std::move(longer);
      if (value[states_] == kNever) return;
      ExitSet set;
      std::size_t state = states_;
      for (int left = m; left > 0; --left) {
        state = next[static_cast<std::size_t>(left) - 1][state];
        set.push_back(exit_of(state));
      }
      sets.insert(std::move(set));
    }
  }

  const Candidates& candidates_;
  int max_threads_;
  std::size_t words_, states_;
  std::vector<Bits> waiting_;        // [states + 1] images whose score is below the threshold
  std::vector<Bits> lost_, gained_;  // [early] images for which only the last exit, or only this
                                     // one, is good
  std::vector<Transition> transitions_;  // [states + 1, states]
  // [states + 1] cost from the exit to the end, for all images that continue.
  std::vector<double> end_cost_;
};

class Search {
 public:
  Search(const Candidates& candidates, const ExitSearchOptions& options)
      : candidates_(candidates), options_(options) {
    most_exits_ = static_cast<std::size_t>(
        options.max_exits > 0 ? std::min(options.max_exits, num_places()) : num_places());
  }

  ExitSearch run() {
    ExitSearch result;
    std::vector<ExitSet> sets = {{}};
    for (int k = 0; k < candidates_.early(); ++k) sets.push_back({k});
    evaluate(sets);
    result.exhaustive = count_sets(candidates_.costs(), options_.max_exits,
                                   options_.most_enumerated) <= options_.most_enumerated;
    if (result.exhaustive) {
      evaluate(all_sets());
    } else {
      const std::set<ExitSet> proposed =
          Proposals(candidates_, options_.max_threads)
              .propose(std::min(static_cast<int>(most_exits_), kMostProposed));
      evaluate({proposed.begin(), proposed.end()});
      exchange();
    }
    result.best = *best();
    std::vector<ExitSet> fewer;
    for (std::size_t i = 0; i < result.best.set.size(); ++i) {
      fewer.push_back(result.best.set);
      fewer.back().erase(fewer.back().begin() + static_cast<std::ptrdiff_t>(i));
    }
    evaluate(fewer);
    for (const ExitSet& set : fewer) result.without.push_back(values_.at(set));
    for (int k = 0; k < candidates_.early(); ++k) result.single.push_back(values_.at({k}));
    for (const auto& [set, value] : values_) {
      if (set.size() > most_exits_) continue;
      result.best_of_size.resize(std::max(result.best_of_size.size(), set.size() + 1));
      SetValue& best_so_far = result.best_of_size[set.size()];
      if (best_so_far.set.size() != set.size() || is_better(options_.aim, value, best_so_far))
        best_so_far = value;
    }
    result.evaluated = static_cast<std::int64_t>(values_.size());
    return result;
  }

 private:
  int num_places() const {
    int places = 0;
    for (int k = 0; k < candidates_.early(); ++k)
      places += k == 0 || candidates_.place(k) != candidates_.place(k - 1);
    return places;
  }

  void evaluate(std::vector<ExitSet> sets) {
    std::erase_if(sets, [&](const ExitSet& set) { return values_.contains(set); });
    std::vector<SetValue> found(sets.size());
    // The sets are evaluated in groups, so that the progress is reported on the calling thread.
    constexpr std::size_t kGroup = 32;
    for (std::size_t begin = 0; begin < sets.size(); begin += kGroup) {
      const std::size_t end = std::min(begin + kGroup, sets.size());
      core::parallel_for(
          end - begin,
          [&](std::size_t i) { found[begin + i] = candidates_.evaluate(sets[begin + i]); },
          options_.max_threads);
      for (std::size_t i = begin; i < end; ++i) values_.emplace(sets[i], found[i]);
      if (options_.progress) options_.progress(static_cast<std::int64_t>(values_.size()));
    }
  }

  void add_sets(ExitSet& set, int first, std::vector<ExitSet>& sets) const {
    sets.push_back(set);
    if (set.size() == most_exits_) return;
    for (int k = first; k < candidates_.early(); ++k) {
      if (!set.empty() && candidates_.place(set.back()) == candidates_.place(k)) continue;
      set.push_back(k);
      add_sets(set, k + 1, sets);
      set.pop_back();
    }
  }
  std::vector<ExitSet> all_sets() const {
    std::vector<ExitSet> sets;
    ExitSet set;
    add_sets(set, 0, sets);
    return sets;
  }

  bool is_allowed(const ExitSet& set) const {
    if (set.size() > most_exits_) return false;
    for (std::size_t i = 1; i < set.size(); ++i)
      if (candidates_.place(set[i - 1]) >= candidates_.place(set[i])) return false;
    return true;
  }

  /// All sets that differ from a set by one exit added, removed or replaced.
  std::vector<ExitSet> neighbours(const ExitSet& set) const {
    std::vector<ExitSet> result;
    const auto add = [&](ExitSet changed) {
      std::ranges::sort(changed);
      if (is_allowed(changed)) result.push_back(std::move(changed));
    };
    for (std::size_t i = 0; i <= set.size(); ++i) {
      ExitSet rest = set;
      if (i < set.size()) {
        rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(i));
        add(rest);
      }
      for (int k = 0; k < candidates_.early(); ++k) {
        ExitSet changed = rest;
        changed.push_back(k);
        add(std::move(changed));
      }
    }
    return result;
  }

  void exchange() {
    // The best set of each size. If only the best set of one size were improved, the search could
    // end at a poor local optimum.
    std::map<std::size_t, SetValue> starts;
    for (const auto& [set, value] : values_) {
      if (!is_allowed(set)) continue;
      const auto [start, is_new] = starts.emplace(set.size(), value);
      if (!is_new && is_better(options_.aim, value, start->second)) start->second = value;
    }
    for (const auto& [size, start] : starts) {
      SetValue here = start;
      for (bool improved = true; improved;) {
        improved = false;
        const std::vector<ExitSet> near = neighbours(here.set);
        evaluate(near);
        for (const ExitSet& set : near)
          if (is_better(options_.aim, values_.at(set), here)) {
            here = values_.at(set);
            improved = true;
          }
      }
    }
  }

  const SetValue* best() const {
    const SetValue* best = &values_.at({});
    for (const auto& [set, value] : values_)
      if (is_allowed(set) && is_better(options_.aim, value, *best)) best = &value;
    return best;
  }

  const Candidates& candidates_;
  const ExitSearchOptions& options_;
  std::size_t most_exits_ = 0;
  std::map<ExitSet, SetValue> values_;
};

void check_costs(const CandidateCosts& costs, const LogitsView& tune) {
  const auto exits = static_cast<std::size_t>(tune.exits);
  if (tune.images() < 1) throw Error("tune: there is no image");
  if (costs.place.size() != exits || costs.body.size() != exits || costs.head.size() != exits)
    throw Error(fmt::format("costs: expected {} values, one for each candidate; got {}, {} and {}",
                            exits, costs.place.size(), costs.body.size(), costs.head.size()));
  if (!std::ranges::is_sorted(costs.place) || !std::ranges::is_sorted(costs.body))
    throw Error("costs: places and costs of the backbone must not decrease");
}

}  // namespace

std::vector<double> costs_of_set(const CandidateCosts& costs, const ExitSet& set) {
  std::vector<double> result;
  double heads = 0;
  for (const int k : set) {
    heads += costs.head[static_cast<std::size_t>(k)];
    result.push_back(costs.body[static_cast<std::size_t>(k)] + heads);
  }
  result.push_back(costs.body.back() + heads + costs.head.back());
  return result;
}

bool is_better(const Aim& aim, const SetValue& value, const SetValue& than) {
  if (value.met != than.met) return value.met;
  // "Equal within a tolerance" is not a transitive relation, so the numbers are rounded instead.
  const auto gain = std::llround(value.accuracy * 1e9) - std::llround(than.accuracy * 1e9);
  const auto saved =
      std::llround(than.relative_cost * 1e9) - std::llround(value.relative_cost * 1e9);
  if (std::holds_alternative<MaxCost>(aim) && value.met)
    return gain > 0 || (gain == 0 && saved > 0);
  return saved > 0 || (saved == 0 && gain > 0);
}

std::int64_t count_sets(const CandidateCosts& costs, int max_exits, std::int64_t limit) {
  std::map<int, std::int64_t> kinds;
  for (std::size_t k = 0; k + 1 < costs.place.size(); ++k) ++kinds[costs.place[k]];
  std::vector<std::int64_t> of_size = {1};  // number of sets with 0, 1, 2, … exits
  for (const auto& [place, count] : kinds) {
    of_size.push_back(0);
    for (std::size_t size = of_size.size() - 1; size > 0; --size)
      of_size[size] = std::min(of_size[size] + count * of_size[size - 1], limit + 1);
  }
  std::int64_t sum = 0;
  for (std::size_t size = 0; size < of_size.size(); ++size)
    if (max_exits <= 0 || size <= static_cast<std::size_t>(max_exits)) sum += of_size[size];
  return std::min(sum, limit + 1);
}

ExitSearch search_exits(const Policy& policy, const LogitsView& tune, const CandidateCosts& costs,
                        const ExitSearchOptions& options) {
  check_costs(costs, tune);
  if (policy.ensemble != Ensemble::off || policy.criterion == Criterion::patience)
    throw UsageError(
        "criterion: exits are chosen by scores that do not depend on other exits; use confidence, "
        "entropy or margin without an ensemble");
  const Candidates candidates(policy, tune, costs, options);
  return Search(candidates, options).run();
}

}  // namespace offramp::policy
