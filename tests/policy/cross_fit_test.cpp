#include "policy/cross_fit.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/random.h"
#include "policy/calibration.h"

namespace offramp {
namespace {

const std::vector<double> kCosts = {0.25, 0.5, 1};

/// Scores and right answers of three exits, later ones more often right.
struct Images {
  explicit Images(std::int64_t count, std::uint64_t seed = 1) {
    judged.exits = 3;
    judged.images = count;
    for (std::uint64_t k = 0; k < 3; ++k)
      for (std::int64_t i = 0; i < count; ++i) {
        KeyedRandom random(seed, k, static_cast<std::uint64_t>(i));
        const float sure = random.uniform();
        judged.scores.push_back(sure);
        right.push_back(random.uniform() < 0.3f + 0.4f * sure + 0.1f * static_cast<float>(k));
      }
    const auto n = static_cast<std::size_t>(count);
    for (std::size_t at = 0; at < 3 * n; ++at)
      harmless.push_back(right[at] != 0 || right[2 * n + at % n] == 0);
  }
  ExitTable by_label() const { return {3, judged.images, judged.scores, right, kCosts}; }
  ExitTable by_harm() const { return {3, judged.images, judged.scores, harmless, kCosts}; }
  CrossFittedPath path() const { return cross_fit(judged, right, harmless, kCosts); }

  /// Those in the fold, or those that are not.
  Images part(std::size_t fold, bool inside) const {
    Images some(0);
    const auto n = static_cast<std::size_t>(judged.images);
    for (std::size_t at = 0; at < 3 * n; ++at) {
      if ((at % n % kFolds == fold) != inside) continue;
      some.judged.scores.push_back(judged.scores[at]);
      some.right.push_back(right[at]);
      some.harmless.push_back(harmless[at]);
    }
    some.judged.images = static_cast<std::int64_t>(some.right.size() / 3);
    return some;
  }

  Judgements judged;
  std::vector<std::uint8_t> right, harmless;
};

TEST(CrossFit, CountsAsOneWhoLaysEveryFoldsPathByHand) {
  const Images images(153);  // folds of 15 and of 16
  const CrossFittedPath path = images.path();
  ASSERT_GT(path.thresholds.size(), 100u);
  ASSERT_EQ(path.thresholds, bold_path(images.by_harm(), kPathLevels));
  for (std::size_t at = 0; at < path.thresholds.size(); at += 7) {
    const Choice fitted = tally(images.by_label(), path.thresholds[at]);
    EXPECT_EQ(path.fitted[at].good, fitted.good);
    EXPECT_EQ(path.fitted[at].total_cost, fitted.total_cost);
    std::int64_t held_out = 0;
    for (std::size_t fold = 0; fold < kFolds; ++fold) {
      const Images laid = images.part(fold, false), held = images.part(fold, true);
      Thresholds chosen;
      for (const Thresholds& thresholds : bold_path(laid.by_harm(), kPathLevels)) {
        chosen = thresholds;
        const double mean =
            tally(laid.by_label(), thresholds).total_cost / static_cast<double>(laid.judged.images);
        if (mean <= fitted.total_cost / 153 + 1e-9) break;
      }
      held_out += tally(held.by_label(), chosen).good;
    }
    EXPECT_EQ(path.held_out_right[at], held_out) << at;
  }
}

TEST(CrossFit, BeginsWithTheLastExitForAll) {
  const Images images(80);
  const CrossFittedPath path = images.path();
  EXPECT_EQ(path.thresholds[0], Thresholds(2));
  EXPECT_EQ(path.fitted[0].total_cost, 80);
  EXPECT_EQ(path.held_out_right[0], path.fitted[0].good);
}

TEST(CrossFit, StandsVeryFewImages) {
  const CrossFittedPath one = Images(1).path();
  EXPECT_EQ(one.held_out_right.size(), one.thresholds.size());
  for (std::size_t at = 0; at < one.fitted.size(); ++at)
    EXPECT_EQ(one.held_out_right[at], one.fitted[at].good);
  for (const std::int64_t count : {2, 3, 9, 10, 11}) {
    const Images images(count);
    const CrossFittedPath path = images.path();
    EXPECT_EQ(path.held_out_right[0], path.fitted[0].good) << count;
    for (const std::int64_t right : path.held_out_right) {
      EXPECT_GE(right, 0);
      EXPECT_LE(right, count);
    }
  }
}

CrossFittedPath path_with(std::vector<std::int64_t> fitted, std::vector<std::int64_t> held_out) {
  CrossFittedPath path;
  path.thresholds.resize(fitted.size());
  for (const std::int64_t good : fitted) path.fitted.push_back({{}, good, 0});
  path.held_out_right = std::move(held_out);
  return path;
}

TEST(CrossFit, GoesOnUntilEitherCountIsTooSmall) {
  EXPECT_EQ(boldest_with(path_with({90, 91, 89, 91}, {90, 90, 90, 90}), 90), 1u);
  EXPECT_EQ(boldest_with(path_with({90, 91, 92, 93}, {90, 90, 89, 95}), 90), 1u);
  EXPECT_EQ(boldest_with(path_with({90, 91, 92, 93}, {90, 90, 90, 90}), 90), 3u);
}

TEST(CrossFit, PassesOverCarefulOnesThatAreNotGoodEnough) {
  // More is asked than the last exit gives, and early exits help.
  EXPECT_EQ(boldest_with(path_with({88, 89, 90, 90, 80}, {88, 89, 90, 91, 91}), 90), 3u);
  EXPECT_EQ(boldest_with(path_with({88, 89}, {88, 89}), 90), std::nullopt);
}

}  // namespace
}  // namespace offramp
