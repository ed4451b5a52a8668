#include "policy/thresholds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "core/random.h"

namespace offramp::policy {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// An ExitTable together with its memory.
struct Case {
  int exits;
  std::vector<float> scores;
  std::vector<std::uint8_t> good;
  std::vector<double> costs;

  ExitTable table() const {
    return {exits, static_cast<std::int64_t>(good.size()) / exits, scores, good, costs};
  }
};

Case random_case(std::uint64_t seed, int exits, std::size_t images) {
  core::KeyedRandom random(seed, 1);
  Case one{exits, {}, {}, {}};
  for (int k = 0; k < exits; ++k) {
    one.costs.push_back((one.costs.empty() ? 0 : one.costs.back()) + 0.1 + random.uniform());
    for (std::size_t i = 0; i < images; ++i) {
      // There are few different values, so that ties occur, and sometimes NaN.
      const float score = static_cast<float>(random.below(6)) / 5;
      one.scores.push_back(random.below(20) == 0 ? kNaN : score);
      one.good.push_back(random.uniform() < 0.3f + 0.15f * static_cast<float>(k) + 0.4f * score);
    }
  }
  return one;
}

// Tries every combination of thresholds: the scores that occur at each exit, and no threshold.
std::optional<ThresholdOutcome> try_all(const ExitTable& table, const SearchGoal& goal,
                                        bool shared) {
  const auto early = static_cast<std::size_t>(table.exits) - 1;
  const auto images = static_cast<std::size_t>(table.images);
  std::vector<std::vector<std::optional<float>>> values(shared ? 1 : early, {std::nullopt});
  for (std::size_t k = 0; k < early; ++k) {
    std::set<float> seen;
    for (const float score : table.scores.subspan(k * images, images))
      if (!std::isnan(score)) seen.insert(score);
    auto& list = values[shared ? 0 : k];
    list.insert(list.end(), seen.begin(), seen.end());
  }
  std::optional<ThresholdOutcome> best;
  std::vector<std::size_t> at(values.size(), 0);
  for (;;) {
    Thresholds thresholds;
    for (std::size_t k = 0; k < early; ++k)
      thresholds.push_back(values[shared ? 0 : k][at[shared ? 0 : k]]);
    const ThresholdOutcome choice = evaluate_thresholds(table, thresholds);
    if (choice.good >= goal.least_good && choice.total_cost <= goal.most_cost + 1e-9) {
      const auto rank = [&](const ThresholdOutcome& one) {  // the second element breaks ties
        const auto good = static_cast<double>(-one.good);
        return goal.cheapest ? std::pair(one.total_cost, good) : std::pair(good, one.total_cost);
      };
      if (!best || rank(choice) < rank(*best)) best = choice;
    }
    std::size_t k = 0;
    while (k < at.size() && ++at[k] == values[k].size()) at[k++] = 0;
    if (k == at.size()) return best;
  }
}

TEST(EvaluateThresholds, StopsAtTheFirstExitWhoseScoreReachesItsThreshold) {
  // Of three images, one has a high score at exit 1, one at exit 2 and one at neither.
  const Case one{
      3, {0.9f, 0.1f, kNaN, 0.2f, 0.8f, 0.3f, 0, 0, 0}, {1, 0, 0, 1, 0, 1, 1, 1, 1}, {1, 2, 4}};
  const ThresholdOutcome choice = evaluate_thresholds(one.table(), {0.9f, 0.5f});
  EXPECT_EQ(choice.good, 1 + 0 + 1);
  EXPECT_EQ(choice.total_cost, 1 + 2 + 4);
  EXPECT_EQ(evaluate_thresholds(one.table(), {std::nullopt, std::nullopt}).total_cost, 12);
}

TEST(Search, AgreesWithTryingEveryThreshold) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const int exits = 2 + static_cast<int>(seed % 3);
    Case one = random_case(seed, exits, 1 + seed % 40);
    if (seed % 5 == 0) {  // scores without ties
      one = random_case(seed, exits, 1 + seed % (exits == 4 ? 12 : 40));
      core::KeyedRandom random(seed, 2);
      for (float& score : one.scores) score = random.uniform();
    }
    const ExitTable table = one.table();
    std::int64_t last_good = 0;
    for (std::int64_t i = 0; i < table.images; ++i)
      last_good += table.good[static_cast<std::size_t>((exits - 1) * table.images + i)];
    const double all = static_cast<double>(table.images) * one.costs.back();
    const SearchGoal goals[] = {{.least_good = last_good - 1},
                                {.least_good = last_good + 2},
                                {.most_cost = 0.6 * all, .cheapest = false},
                                {.most_cost = 0, .cheapest = false}};
    for (const SearchGoal& goal : goals) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", least good " << goal.least_good);
      for (const bool shared : {true, false}) {
        const auto found = shared ? search_shared(table, goal) : search_each(table, goal);
        const auto expected = try_all(table, goal, shared);
        ASSERT_EQ(found.has_value(), expected.has_value());
        if (!found) continue;
        EXPECT_EQ(found->good, expected->good);
        EXPECT_NEAR(found->total_cost, expected->total_cost, 1e-9);
        // Applying the thresholds gives the counts that the search reported.
        const ThresholdOutcome done = evaluate_thresholds(table, found->thresholds);
        EXPECT_EQ(done.good, found->good);
        EXPECT_EQ(done.total_cost, found->total_cost);  // equal to the last bit
      }
    }
  }
}

TEST(Search, WithManyExitsIsNeverWorseThanOneThreshold) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    Case one = random_case(seed, 8, 300);
    core::KeyedRandom random(seed, 2);
    for (float& score : one.scores) score = random.uniform();
    const SearchGoal goal{.least_good = 180};
    const auto each = search_each(one.table(), goal), shared = search_shared(one.table(), goal);
    ASSERT_EQ(each.has_value(), shared.has_value());
    if (each) {
      EXPECT_LE(each->total_cost, shared->total_cost);
    }
  }
}

// Special cases: a useless first exit, a last exit worse than the first, equal costs, all scores
// NaN.
TEST(Search, AcceptsUnusualTables) {
  const Case useless{3, {0.9f, 0.8f, 0.1f, 0.7f, 0, 0}, {0, 0, 1, 1, 1, 1}, {1, 2, 3}};
  const auto around = search_each(useless.table(), {.least_good = 2});
  ASSERT_TRUE(around);
  EXPECT_EQ(around->thresholds[0], std::nullopt);
  EXPECT_EQ(around->total_cost, 4);  // both images stop at exit 2
  const Case worse{2, {0.9f, 0.8f, 0, 0}, {1, 1, 0, 1}, {1, 2}};
  const auto first = search_each(worse.table(), {.least_good = 2});
  ASSERT_TRUE(first);
  EXPECT_EQ(first->thresholds[0], 0.8f);
  EXPECT_EQ(first->total_cost, 2);
  const Case alike{2, {0.5f, 0.5f, 0, 0}, {0, 1, 1, 1}, {1, 1}};
  EXPECT_EQ(search_each(alike.table(), {})->good, 2);
  const Case silent{3, {kNaN, kNaN, kNaN, kNaN, kNaN, kNaN}, {1, 1, 1, 1, 0, 1}, {1, 2, 3}};
  EXPECT_EQ(search_each(silent.table(), {})->total_cost, 6);
  const Case empty{3, {}, {}, {1, 2, 3}};
  EXPECT_EQ(search_each(empty.table(), {})->total_cost, 0);
}

TEST(Search, OfOneExitHasNothingToChoose) {
  const Case one{1, {0.5f, 0.5f}, {1, 0}, {3}};
  const auto found = search_each(one.table(), {.least_good = 1});
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->thresholds.empty());
  EXPECT_EQ(found->good, 1);
  EXPECT_EQ(found->total_cost, 6);
  EXPECT_FALSE(search_each(one.table(), {.least_good = 2}));
}

TEST(EvaluateThresholdPath, EqualsEvaluatingEachStep) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Case one = random_case(seed, 1 + static_cast<int>(seed % 5), 120);
    const Case other = random_case(seed + 100, 1 + static_cast<int>(seed % 5), 80);
    const auto path = greedy_threshold_path(one.table(), 8);
    for (const ExitTable& table : {one.table(), other.table()}) {
      const auto choices = evaluate_threshold_path(table, path);
      ASSERT_EQ(choices.size(), path.size());
      for (std::size_t m = 0; m < path.size(); ++m) {
        const ThresholdOutcome each = evaluate_thresholds(table, path[m]);
        EXPECT_EQ(choices[m].thresholds, path[m]);
        EXPECT_EQ(choices[m].good, each.good);
        EXPECT_EQ(choices[m].total_cost, each.total_cost);
      }
    }
  }
}

TEST(GreedyThresholdPath, LowersThresholdsFromNeverStoppingToAlwaysStopping) {
  const Case one = random_case(9, 4, 200);
  const auto path = greedy_threshold_path(one.table(), 10);
  EXPECT_EQ(path.front(), Thresholds(3));
  for (std::size_t m = 1; m < path.size(); ++m) {
    int changed = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      if (path[m][k] == path[m - 1][k]) continue;
      ++changed;
      EXPECT_TRUE(!path[m - 1][k] || *path[m][k] < *path[m - 1][k]);
    }
    EXPECT_EQ(changed, 1);
  }
  for (std::size_t k = 0; k < 3; ++k)
    EXPECT_EQ(path.back()[k], 0.f);  // the lowest score that occurs
}

TEST(GreedyThresholdPath, GetsCheaperWithEveryStep) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Case one = random_case(seed, 2 + static_cast<int>(seed % 4), 150);
    core::KeyedRandom random(seed, 3);
    if (seed % 2 == 0)
      for (float& score : one.scores) score = random.uniform();
    const ExitTable table = one.table();
    const auto path = greedy_threshold_path(table, 20);
    EXPECT_LE(path.size(), 1 + 20 * (one.costs.size() - 1));
    for (std::size_t m = 1; m < path.size(); ++m)
      EXPECT_LE(evaluate_thresholds(table, path[m]).total_cost,
                evaluate_thresholds(table, path[m - 1]).total_cost);
  }
}

// Each step lowers the threshold of the exit with the largest gain: the maximum, over all levels it
// could be lowered to, of (cost saved) / (good images lost + 1).
TEST(GreedyThresholdPath, LowersTheThresholdWithTheLargestGain) {
  const Case one = random_case(4, 4, 300);
  const ExitTable table = one.table();
  const auto path =
      greedy_threshold_path(table, 1000);  // every different score is a step, as there are few
  for (std::size_t m = 1; m < path.size(); ++m) {
    const ThresholdOutcome now = evaluate_thresholds(table, path[m - 1]);
    std::vector<double> gains(3, -1);
    for (std::size_t k = 0; k < 3; ++k)
      for (const float value : {1.f, 0.8f, 0.6f, 0.4f, 0.2f, 0.f}) {
        Thresholds then = path[m - 1];
        if (then[k] && !(value < *then[k])) continue;
        then[k] = value;
        const ThresholdOutcome choice = evaluate_thresholds(table, then);
        gains[k] = std::max(
            gains[k],
            (now.total_cost - choice.total_cost) /
                static_cast<double>(std::max<std::int64_t>(0, now.good - choice.good) + 1));
      }
    std::size_t lowered = 0;
    while (path[m][lowered] == path[m - 1][lowered]) ++lowered;
    EXPECT_DOUBLE_EQ(gains[lowered], *std::ranges::max_element(gains)) << m;
  }
}

// Lowering exit 2 by one step saves nothing, because its highest-scored images stop at exit 1.
TEST(GreedyThresholdPath, LooksBeyondLevelsWhoseImagesHaveLeftBefore) {
  constexpr std::size_t n = 400;
  Case one{3, std::vector<float>(3 * n), std::vector<std::uint8_t>(3 * n, 1), {0.3, 0.5, 1}};
  for (std::size_t i = 0; i < n; ++i) {
    one.scores[i] = one.scores[n + i] = 1 - static_cast<float>(i) / n;
    one.good[i] = i < n / 4;          // exit 1 is correct for the quarter with the highest scores
    one.good[n + i] = i < 3 * n / 4;  // exit 2 is correct for three quarters
  }
  const ExitTable table = one.table();
  bool seen = false;
  for (const Thresholds& thresholds : greedy_threshold_path(table, 40)) {
    const ThresholdOutcome choice = evaluate_thresholds(table, thresholds);
    seen |= choice.good == n && choice.total_cost <= n / 4 * 0.3 + n / 2 * 0.5 + n / 4 * 1.0 + 1e-9;
  }
  EXPECT_TRUE(seen);
}

TEST(GreedyThresholdPath, LeavesAnExitWhoseScoresAreAllEqualForLast) {
  constexpr std::size_t n = 100;
  Case one{3, std::vector<float>(3 * n, 0.5f), std::vector<std::uint8_t>(3 * n, 1), {0.3, 0.5, 1}};
  for (std::size_t i = 0; i < n; ++i) {
    one.good[i] = i % 10 == 0;
    one.scores[n + i] = static_cast<float>(i) / n;
  }
  const auto path = greedy_threshold_path(one.table(), 10);
  ASSERT_GT(path.size(), 2u);
  EXPECT_FALSE(path[path.size() - 2][0]);
  EXPECT_EQ(path[path.size() - 2][1], 0.f);
}

TEST(GreedyThresholdPath, OfOneExitOrNoScoreIsNeverStopping) {
  const Case one{1, {0.5f, 0.5f}, {1, 0}, {3}};
  EXPECT_EQ(greedy_threshold_path(one.table(), 5).size(), 1u);
  const Case silent{2, {kNaN, kNaN, 0, 0}, {1, 1, 0, 1}, {1, 2}};
  EXPECT_EQ(greedy_threshold_path(silent.table(), 5).size(), 1u);
}

}  // namespace
}  // namespace offramp::policy
