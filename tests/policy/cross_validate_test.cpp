#include "policy/cross_validate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "core/random.h"
#include "policy/calibration.h"

namespace offramp::policy {
namespace {

const std::vector<double> kCosts = {0.25, 0.5, 1};

/// Scores and correctness of three exits; later exits are correct more often.
struct Images {
  explicit Images(std::int64_t count, std::uint64_t seed = 1) {
    exit_predictions.exits = 3;
    exit_predictions.images = count;
    for (std::uint64_t k = 0; k < 3; ++k)
      for (std::int64_t i = 0; i < count; ++i) {
        core::KeyedRandom random(seed, k, static_cast<std::uint64_t>(i));
        const float sure = random.uniform();
        exit_predictions.scores.push_back(sure);
        correct.push_back(random.uniform() < 0.3f + 0.4f * sure + 0.1f * static_cast<float>(k));
      }
    const auto n = static_cast<std::size_t>(count);
    for (std::size_t at = 0; at < 3 * n; ++at)
      harmless.push_back(correct[at] != 0 || correct[2 * n + at % n] == 0);
  }
  ExitTable by_label() const {
    return {3, exit_predictions.images, exit_predictions.scores, correct, kCosts};
  }
  ExitTable by_harm() const {
    return {3, exit_predictions.images, exit_predictions.scores, harmless, kCosts};
  }
  CrossValidatedPath path() const {
    return cross_validate(exit_predictions, correct, harmless, kCosts);
  }

  /// Returns the images in the fold, or those outside it.
  Images part(std::size_t fold, bool inside) const {
    Images some(0);
    const auto n = static_cast<std::size_t>(exit_predictions.images);
    for (std::size_t at = 0; at < 3 * n; ++at) {
      if ((at % n % kFolds == fold) != inside) continue;
      some.exit_predictions.scores.push_back(exit_predictions.scores[at]);
      some.correct.push_back(correct[at]);
      some.harmless.push_back(harmless[at]);
    }
    some.exit_predictions.images = static_cast<std::int64_t>(some.correct.size() / 3);
    return some;
  }

  ExitPredictions exit_predictions;
  std::vector<std::uint8_t> correct, harmless;
};

TEST(CrossValidate, AgreesWithChoosingThePathOfEveryFoldSeparately) {
  const Images images(153);  // folds have 15 or 16 images
  const CrossValidatedPath path = images.path();
  const auto steps = greedy_threshold_path(images.by_harm(), kPathLevels);
  ASSERT_GT(steps.size(), 100u);
  ASSERT_EQ(path.fitted.size(), steps.size());
  ASSERT_EQ(path.cross_validated_correct.size(), steps.size());
  for (std::size_t at = 0; at < steps.size(); at += 7) {
    const ThresholdOutcome fitted = evaluate_thresholds(images.by_label(), steps[at]);
    EXPECT_EQ(path.fitted[at].thresholds, steps[at]);
    EXPECT_EQ(path.fitted[at].good, fitted.good);
    EXPECT_EQ(path.fitted[at].total_cost, fitted.total_cost);
    double held_out = 0;
    for (std::size_t fold = 0; fold < kFolds; ++fold) {
      const Images laid = images.part(fold, false), held = images.part(fold, true);
      const double wanted = fitted.total_cost / 153;
      double cost_before = 0, correct_before = 0;
      for (const Thresholds& thresholds : greedy_threshold_path(laid.by_harm(), kPathLevels)) {
        const double cost = evaluate_thresholds(laid.by_label(), thresholds).total_cost /
                            static_cast<double>(laid.exit_predictions.images);
        const auto correct =
            static_cast<double>(evaluate_thresholds(held.by_label(), thresholds).good);
        if (cost <= wanted) {
          const double share = cost == wanted ? 0 : (wanted - cost) / (cost_before - cost);
          held_out += share * correct_before + (1 - share) * correct;
          break;
        }
        cost_before = cost;
        correct_before = correct;
      }
    }
    EXPECT_NEAR(path.cross_validated_correct[at], held_out, 1e-9) << at;
  }
}

TEST(CrossValidate, BeginsWithTheLastExitForAll) {
  const Images images(80);
  const CrossValidatedPath path = images.path();
  EXPECT_EQ(path.fitted[0].thresholds, Thresholds(2));
  EXPECT_EQ(path.fitted[0].total_cost, 80);
  EXPECT_EQ(path.cross_validated_correct[0], path.fitted[0].good);
}

// The images are spread evenly over the folds, so a fold loses the same share of correct images as
// the whole.
TEST(CrossValidate, FindsNoLossForAPathOfFewSteps) {
  Images images(1000);
  for (std::size_t i = 0; i < 1000; ++i) {
    const bool easy = i / 10 % 5 != 0;  // the same number in every fold
    for (std::size_t k = 0; k < 3; ++k) {
      images.exit_predictions.scores[k * 1000 + i] = k == 1 && easy ? 2 : 1;
      images.correct[k * 1000 + i] = k == 2 || (k == 1 && easy);
      images.harmless[k * 1000 + i] = images.correct[k * 1000 + i];
    }
  }
  const CrossValidatedPath path = images.path();
  // The steps are: never stop early; stop at exit 2 where two exits agree; stop all images at exit
  // 2 or at exit 1.
  EXPECT_EQ(path.fitted[1].thresholds, (Thresholds{std::nullopt, 2.f}));
  EXPECT_EQ(path.fitted[1].good, 1000);
  EXPECT_NEAR(path.cross_validated_correct[1], 1000, 1e-9);
  EXPECT_EQ(cheapest_accurate_step(path, 1000), 1u);
}

TEST(CrossValidate, AcceptsTiesThatAreUnevenlyDividedAmongFolds) {
  Images images(500);
  for (std::size_t i = 0; i < 500; ++i) {
    core::KeyedRandom random(8, i);
    const bool easy = random.uniform() < 0.7f;
    for (std::size_t k = 0; k < 3; ++k) {
      images.exit_predictions.scores[k * 500 + i] = k == 1 && easy ? 2 : 1;
      images.correct[k * 500 + i] = k == 2 || (k == 1 && easy);
      images.harmless[k * 500 + i] = images.correct[k * 500 + i];
    }
  }
  const CrossValidatedPath path = images.path();
  EXPECT_EQ(path.fitted[1].good, 500);
  EXPECT_GT(path.cross_validated_correct[1], 495);  // the next step would lose 150 or more
}

TEST(CrossValidate, LeavesOutScoresThatAreNaN) {
  Images images(200);
  for (std::size_t i = 0; i < 200; i += 3)
    images.exit_predictions.scores[i] = std::numeric_limits<float>::quiet_NaN();
  const CrossValidatedPath path = images.path();
  for (const double correct : path.cross_validated_correct) {
    EXPECT_GE(correct, 0);
    EXPECT_LE(correct, 200);
  }
  for (const ThresholdOutcome& step : path.fitted)
    for (const auto& threshold : step.thresholds) EXPECT_TRUE(!threshold || *threshold >= 0);
}

TEST(CrossValidate, AcceptsVeryFewImages) {
  const CrossValidatedPath one = Images(1).path();
  EXPECT_TRUE(one.cross_validated_correct.empty());
  EXPECT_FALSE(one.fitted.empty());
  EXPECT_TRUE(cheapest_accurate_step(one, 0));
  for (const std::int64_t count : {2, 3, 9, 10, 11}) {
    const CrossValidatedPath path = Images(count).path();
    EXPECT_EQ(path.cross_validated_correct[0], path.fitted[0].good) << count;
    for (const double correct : path.cross_validated_correct) {
      EXPECT_GE(correct, 0);
      EXPECT_LE(correct, count);
    }
  }
}

TEST(CrossValidate, GivesTheSameResultOnManyThreads) {
  const Images images(20'000);  // 60,000 scores
  const CrossValidatedPath path = images.path();
  double fold_by_fold = 0;
  const std::size_t step = path.fitted.size() / 2;
  const double wanted = path.fitted[step].total_cost / 20'000;
  for (std::size_t fold = 0; fold < kFolds; ++fold) {
    const Images laid = images.part(fold, false), held = images.part(fold, true);
    const auto steps = greedy_threshold_path(laid.by_harm(), kPathLevels);
    const auto costs = evaluate_threshold_path(laid.by_label(), steps);
    const auto found = std::ranges::find_if(costs, [&](const ThresholdOutcome& choice) {
      return choice.total_cost / 18'000 <= wanted;
    });
    const auto at = static_cast<std::size_t>(found - costs.begin());
    const double before = costs[at - 1].total_cost / 18'000, after = costs[at].total_cost / 18'000;
    const auto correct = [&](std::size_t which) {
      return static_cast<double>(evaluate_thresholds(held.by_label(), steps[which]).good);
    };
    const double share = (wanted - after) / (before - after);
    fold_by_fold += share * correct(at - 1) + (1 - share) * correct(at);
  }
  EXPECT_NEAR(path.cross_validated_correct[step], fold_by_fold, 1e-6);
}

CrossValidatedPath path_with(std::vector<std::int64_t> fitted, std::vector<double> held_out) {
  CrossValidatedPath path;
  for (const std::int64_t good : fitted)
    path.fitted.push_back({{}, good, 100 - static_cast<double>(path.fitted.size())});
  path.cross_validated_correct = std::move(held_out);
  return path;
}

TEST(CrossValidate, SearchesUntilEitherCountIsTooSmall) {
  EXPECT_EQ(cheapest_accurate_step(path_with({90, 91, 89, 91}, {90, 90, 90, 90}), 90), 1u);
  EXPECT_EQ(cheapest_accurate_step(path_with({90, 91, 92, 93}, {90, 90, 89.5, 95}), 90), 1u);
  EXPECT_EQ(cheapest_accurate_step(path_with({90, 91, 92, 93}, {90, 90, 90, 90}), 90), 3u);
}

TEST(CrossValidate, SkipsCautiousStepsThatAreNotAccurateEnough) {
  // The aim is above the accuracy of the last exit, and early exits raise the accuracy.
  EXPECT_EQ(cheapest_accurate_step(path_with({88, 89, 90, 90, 80}, {88, 89, 90, 91, 91}), 90), 3u);
  EXPECT_EQ(cheapest_accurate_step(path_with({88, 89}, {88, 89}), 90), std::nullopt);
}

TEST(CrossValidate, TakesTheFirstOfEquallyCheapSteps) {
  CrossValidatedPath path = path_with({92, 91, 90, 90}, {92, 91, 90, 90});
  for (std::size_t step : {1u, 2u}) path.fitted[step].total_cost = path.fitted[0].total_cost;
  EXPECT_EQ(cheapest_accurate_step(path, 90), 3u);
  path.fitted[3].total_cost = path.fitted[0].total_cost;
  EXPECT_EQ(cheapest_accurate_step(path, 90), 0u);
}

}  // namespace
}  // namespace offramp::policy
