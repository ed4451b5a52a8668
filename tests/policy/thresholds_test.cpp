#include "policy/thresholds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "core/random.h"

namespace offramp {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A table that owns what it shows.
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
  KeyedRandom random(seed, 1);
  Case one{exits, {}, {}, {}};
  for (int k = 0; k < exits; ++k) {
    one.costs.push_back((one.costs.empty() ? 0 : one.costs.back()) + 0.1 + random.uniform());
    for (std::size_t i = 0; i < images; ++i) {
      // Few different values, so that there are ties; now and then none at all.
      const float score = static_cast<float>(random.below(6)) / 5;
      one.scores.push_back(random.below(20) == 0 ? kNaN : score);
      one.good.push_back(random.uniform() < 0.3f + 0.15f * static_cast<float>(k) + 0.4f * score);
    }
  }
  return one;
}

// Every combination of the scores that occur, and "never".
std::optional<Choice> try_all(const ExitTable& table, const Aim& aim, bool shared) {
  std::vector<std::optional<float>> values = {std::nullopt, 0.f, 0.2f, 0.4f, 0.6f, 0.8f, 1.f};
  for (auto& value : values)
    if (value) value = static_cast<float>(std::lround(*value * 5)) / 5;
  const auto early = static_cast<std::size_t>(table.exits) - 1;
  std::optional<Choice> best;
  std::vector<std::size_t> at(early, 0);
  for (;;) {
    Thresholds thresholds;
    for (const std::size_t index : at) thresholds.push_back(values[index]);
    const Choice choice = apply(table, thresholds);
    const bool same = std::equal(at.begin() + 1, at.end(), at.begin());
    if ((!shared || same) && choice.good >= aim.least_good &&
        choice.total_cost <= aim.most_cost + 1e-9) {
      const bool wins = !best || (aim.cheapest ? choice.total_cost < best->total_cost - 1e-9
                                               : choice.good > best->good);
      if (wins) best = choice;
    }
    std::size_t k = 0;
    while (k < early && ++at[k] == values.size()) at[k++] = 0;
    if (k == early) return best;
  }
}

TEST(Apply, StopsAtTheFirstExitThatIsSure) {
  // Three images: sure at exit 1, at exit 2, never.
  const Case one{
      3, {0.9f, 0.1f, kNaN, 0.2f, 0.8f, 0.3f, 0, 0, 0}, {1, 0, 0, 1, 0, 1, 1, 1, 1}, {1, 2, 4}};
  const Choice choice = apply(one.table(), {0.9f, 0.5f});
  EXPECT_EQ(choice.good, 1 + 0 + 1);
  EXPECT_EQ(choice.total_cost, 1 + 2 + 4);
  EXPECT_EQ(apply(one.table(), {std::nullopt, std::nullopt}).total_cost, 12);
}

TEST(Search, FindsWhatTryingEverythingFinds) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const int exits = 2 + static_cast<int>(seed % 3);
    const Case one = random_case(seed, exits, 1 + seed % 40);
    const ExitTable table = one.table();
    std::int64_t last_good = 0;
    for (std::int64_t i = 0; i < table.images; ++i)
      last_good += table.good[static_cast<std::size_t>((exits - 1) * table.images + i)];
    const double all = static_cast<double>(table.images) * one.costs.back();
    const Aim aims[] = {{.least_good = last_good - 1},
                        {.least_good = last_good + 2},
                        {.most_cost = 0.6 * all, .cheapest = false},
                        {.most_cost = 0, .cheapest = false}};
    for (const Aim& aim : aims) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", least good " << aim.least_good);
      for (const bool shared : {true, false}) {
        const auto found = shared ? search_shared(table, aim) : search_each(table, aim);
        const auto expected = try_all(table, aim, shared);
        ASSERT_EQ(found.has_value(), expected.has_value());
        if (!found) continue;
        if (aim.cheapest) {
          EXPECT_NEAR(found->total_cost, expected->total_cost, 1e-9);
        } else {
          EXPECT_EQ(found->good, expected->good);
        }
        // And it does what it says.
        const Choice done = apply(table, found->thresholds);
        EXPECT_EQ(done.good, found->good);
        EXPECT_NEAR(done.total_cost, found->total_cost, 1e-9);
      }
    }
  }
}

TEST(Search, WithManyExitsIsNeverWorseThanOneThreshold) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    Case one = random_case(seed, 8, 300);
    KeyedRandom random(seed, 2);
    for (float& score : one.scores) score = random.uniform();
    const Aim aim{.least_good = 180};
    const auto each = search_each(one.table(), aim), shared = search_shared(one.table(), aim);
    ASSERT_EQ(each.has_value(), shared.has_value());
    if (each) {
      EXPECT_LE(each->total_cost, shared->total_cost);
    }
  }
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

TEST(BoldPath, GoesFromNeverToAlwaysWithoutTurningBack) {
  const Case one = random_case(9, 4, 200);
  const auto path = bold_path(one.table(), 10);
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
  for (std::size_t k = 0; k < 3; ++k) EXPECT_EQ(path.back()[k], 0.f);  // the least score of all
}

}  // namespace
}  // namespace offramp
