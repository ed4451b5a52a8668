#include "policy/exit_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "policy/calibration.h"

namespace offramp::policy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::ThrowsMessage;

constexpr int kClasses = 4;

/// The logits of candidates on images of different difficulty. Candidate k classifies an image
/// correctly with a margin of its skill minus the image's difficulty, with noise.
struct Scene {
  /// @param skills  [K] the last one of the last exit
  Scene(std::vector<double> skills, CandidateCosts of_candidates, std::int64_t images,
        std::uint64_t seed)
      : costs(std::move(of_candidates)), exits(static_cast<int>(skills.size())) {
    labels.resize(static_cast<std::size_t>(images));
    for (std::size_t i = 0; i < labels.size(); ++i)
      labels[i] = static_cast<std::int64_t>(i % kClasses);
    for (std::size_t k = 0; k < skills.size(); ++k)
      for (std::size_t i = 0; i < labels.size(); ++i) {
        core::KeyedRandom of_image(seed, i), own(seed + 1, k, i);
        const double difficulty = 4 * static_cast<double>(of_image.uniform());
        const double noise = 1.5 * (static_cast<double>(own.uniform() + own.uniform()) - 1);
        const double margin = skills[k] - difficulty + noise;
        for (int c = 0; c < kClasses; ++c)
          logits.push_back(c == labels[i] ? static_cast<float>(margin) : 0.1f * own.uniform());
      }
  }

  LogitsView view() const { return {logits, labels, exits, kClasses}; }
  ExitSearch search(const ExitSearchOptions& options) const {
    return search_exits(fit_policy({}, view()), view(), costs, options);
  }

  CandidateCosts costs;
  int exits;
  std::vector<float> logits;
  std::vector<std::int64_t> labels;
};

/// Places at equal distances, each with `kinds` heads. A later kind costs more and is better.
Scene scene(int places, int kinds, std::int64_t images, std::uint64_t seed) {
  CandidateCosts costs;
  std::vector<double> skills;
  core::KeyedRandom random(seed, 77);
  for (int p = 0; p < places; ++p)
    for (int h = 0; h < kinds; ++h) {
      const double depth = static_cast<double>(p + 1) / (places + 1);
      costs.place.push_back(p);
      costs.body.push_back(depth);
      costs.head.push_back(0.005 + 0.03 * h + 0.01 * static_cast<double>(random.uniform()));
      skills.push_back(1 + 3 * std::sqrt(depth) + 0.5 * h +
                       0.6 * static_cast<double>(random.uniform()));
    }
  costs.place.push_back(places);
  costs.body.push_back(1);
  costs.head.push_back(0);
  skills.push_back(4.4);
  return {std::move(skills), std::move(costs), images, seed};
}

ExitSearchOptions options_for(const Aim& aim, std::int64_t enumerated, int max_exits = 0) {
  ExitSearchOptions options;
  options.aim = aim;
  options.most_enumerated = enumerated;
  options.max_exits = max_exits;
  options.certify_images = 500;
  return options;
}

TEST(ExitSearch, CostsOfASetCountTheHeadsOnTheWay) {
  const CandidateCosts costs{{0, 0, 1, 2}, {0.25, 0.25, 0.5, 1}, {0.01, 0.02, 0.04, 0}};
  EXPECT_THAT(costs_of_set(costs, {}), ElementsAre(1));
  EXPECT_THAT(costs_of_set(costs, {1, 2}), ElementsAre(0.27, 0.56, 1.06));
}

TEST(ExitSearch, CountsSetsWithOneKindAtEachPlace) {
  const CandidateCosts costs{{0, 0, 1, 2, 3}, {0.1, 0.1, 0.2, 0.3, 1}, {0, 0, 0, 0, 0}};
  EXPECT_EQ(count_sets(costs, 0, 1000), 3 * 2 * 2);
  EXPECT_EQ(count_sets(costs, 1, 1000), 1 + 4);
  EXPECT_EQ(count_sets(costs, 2, 1000), 1 + 4 + 2 + 2 + 1);
  EXPECT_EQ(count_sets(costs, 0, 5), 6);
}

TEST(ExitSearch, ChoosesTheOnlyExitThatSaves) {
  // Exit 2 is as good as the last; exit 1 classifies nothing correctly; exit 3 comes late.
  const Scene images({-4, 4.4, 4.4, 4.4},
                     {{0, 1, 2, 3}, {0.25, 0.5, 0.9, 1}, {0.01, 0.01, 0.01, 0}}, 400, 3);
  for (const Aim& aim : {Aim(AccuracyDrop{0.02}), Aim(MaxCost{0.6})}) {
    const ExitSearch result = images.search(options_for(aim, 100, 1));
    EXPECT_THAT(result.best.set, ElementsAre(1)) << describe(aim);
    EXPECT_TRUE(result.best.met);
    EXPECT_LT(result.best.relative_cost, 0.8);
    EXPECT_TRUE(result.exhaustive);
    ASSERT_EQ(result.single.size(), 3u);
    EXPECT_EQ(result.single[1].relative_cost, result.best.relative_cost);
    ASSERT_EQ(result.without.size(), 1u);
    EXPECT_THAT(result.without[0].set, IsEmpty());
  }
}

TEST(ExitSearch, ChoosesNoExitIfNoneSaves) {
  const Scene images({-4, -4, 4.4}, {{0, 1, 2}, {0.25, 0.5, 1}, {0.05, 0.05, 0}}, 300, 4);
  const ExitSearch result = images.search(options_for(AccuracyDrop{0}, 100));
  EXPECT_THAT(result.best.set, IsEmpty());
  EXPECT_EQ(result.best.relative_cost, 1);
}

TEST(ExitSearch, NeverChoosesTwoHeadsAtOnePlaceNorTooMany) {
  const Scene images = scene(5, 3, 200, 5);
  for (const std::int64_t enumerated : {0, 10'000})
    for (const int max_exits : {1, 2}) {
      const ExitSearch result =
          images.search(options_for(AccuracyDrop{0.05}, enumerated, max_exits));
      EXPECT_EQ(result.exhaustive, enumerated > 0);
      EXPECT_LE(result.best.set.size(), static_cast<std::size_t>(max_exits));
      EXPECT_EQ(result.best_of_size.size(), static_cast<std::size_t>(max_exits) + 1);
      for (std::size_t i = 1; i < result.best.set.size(); ++i)
        EXPECT_NE(images.costs.place[static_cast<std::size_t>(result.best.set[i - 1])],
                  images.costs.place[static_cast<std::size_t>(result.best.set[i])]);
    }
}

TEST(ExitSearch, IsWithinTwoPercentOfTheBestOfAllSets) {
  struct Case {
    int places, kinds, max_exits;
    std::int64_t images;
  };
  // The last case has 12 places and any number of exits: 4,096 sets.
  for (const Case& c : {Case{6, 2, 3, 150}, Case{12, 1, 3, 150}, Case{12, 1, 0, 60}})
    for (const Aim& aim :
         {Aim(AccuracyDrop{0.02}), Aim(HarmGuarantee{.epsilon = 0.08}), Aim(MaxCost{0.6})}) {
      if (c.max_exits == 0 && !std::holds_alternative<AccuracyDrop>(aim)) continue;
      SCOPED_TRACE(testing::Message() << c.places << " places, " << c.kinds << " kinds, "
                                      << c.max_exits << " exits, " << describe(aim));
      const Scene images = scene(c.places, c.kinds, c.images, 6);
      const ExitSearch all = images.search(options_for(aim, 100'000, c.max_exits));
      const ExitSearch found = images.search(options_for(aim, 0, c.max_exits));
      EXPECT_TRUE(all.exhaustive);
      EXPECT_FALSE(found.exhaustive);
      EXPECT_LT(found.evaluated, all.evaluated);
      EXPECT_EQ(found.best.met, all.best.met);
      if (std::holds_alternative<MaxCost>(aim))
        EXPECT_GE(found.best.accuracy, all.best.accuracy - 0.02);
      else
        EXPECT_LE(found.best.relative_cost, 1.02 * all.best.relative_cost);
      EXPECT_LT(all.best.relative_cost, 0.95);  // exits save cost here
    }
}

TEST(ExitSearch, ACostIsWhatTheChosenThresholdsGive) {
  const Scene images = scene(4, 1, 400, 8);
  const AccuracyDrop aim{0.02};
  const ExitSearch result = images.search(options_for(aim, 1000, 2));
  ASSERT_EQ(result.best.set.size(), 2u);
  // The same exits alone, with the thresholds that calibrate chooses.
  Scene chosen({0, 0, 0}, images.costs, 400, 8);
  chosen.logits.clear();
  for (const int k : {result.best.set[0], result.best.set[1], images.exits - 1})
    for (std::int64_t i = 0; i < 400; ++i) {
      const auto own = images.view().at(k, i);
      chosen.logits.insert(chosen.logits.end(), own.begin(), own.end());
    }
  double last = 0;
  for (std::int64_t i = 0; i < 400; ++i)
    last += argmax(chosen.view().at(2, i)) == chosen.labels[static_cast<std::size_t>(i)];
  const ChosenThresholds thresholds =
      choose_thresholds(fit_policy({}, chosen.view()), chosen.view(),
                        costs_of_set(images.costs, result.best.set), aim, last / 400);
  EXPECT_TRUE(thresholds.met);
  EXPECT_DOUBLE_EQ(thresholds.relative_cost, result.best.relative_cost);
  EXPECT_DOUBLE_EQ(thresholds.held_out_accuracy.value(), result.best.accuracy);
}

TEST(ExitSearch, SaysThatABudgetCannotBeMet) {
  const Scene images({-4, 4.4, 4.4, 4.4},
                     {{0, 1, 2, 3}, {0.25, 0.5, 0.9, 1}, {0.01, 0.01, 0.01, 0}}, 400, 3);
  const ExitSearch result = images.search(options_for(MaxCost{0.1}, 100));
  EXPECT_THAT(result.best.set, IsEmpty());
  EXPECT_FALSE(result.best.met);
  EXPECT_TRUE(images.search(options_for(MaxCost{1}, 100)).best.met);
}

TEST(ExitSearch, TakesTheMostAccurateStepWithinABudgetAsCalibrateDoes) {
  // The exit classifies correctly what the last one does not, so later steps are more accurate.
  const Scene images({4.4, 2}, {{0, 1}, {0.5, 1}, {0.01, 0}}, 400, 10);
  const MaxCost aim{1.1};
  const ExitSearch result = images.search(options_for(aim, 100));
  ASSERT_THAT(result.best.set, ElementsAre(0));
  const ChosenThresholds thresholds = choose_thresholds(
      fit_policy({}, images.view()), images.view(), costs_of_set(images.costs, {0}), aim);
  EXPECT_LT(result.best.relative_cost, 0.9);
  EXPECT_DOUBLE_EQ(thresholds.relative_cost, result.best.relative_cost);
  EXPECT_DOUBLE_EQ(thresholds.held_out_accuracy.value(), result.best.accuracy);
}

TEST(ExitSearch, TestsAtTheLevelOfTheCertificate) {
  // The first attempt may use 0.045 of delta, and tests harm at 98 % of that, 0.0441. With no harm,
  // 309 images would suffice for epsilon 0.01 at the first level, 0.99^309 = 0.0448, and 311 do at
  // the second one, 0.99^311 = 0.0439.
  const Scene images({8, 8}, {{0, 1}, {0.5, 1}, {0.01, 0}}, 300, 11);
  ExitSearchOptions options = options_for(HarmGuarantee{.epsilon = 0.01, .delta = 0.05}, 100);
  options.certify_images = 309;
  EXPECT_THAT(images.search(options).best.set, IsEmpty());
  options.certify_images = 311;
  EXPECT_THAT(images.search(options).best.set, ElementsAre(0));
}

TEST(ExitSearch, OrdersSetsOfAlmostEqualValue) {
  // Whether two values differ by less than 1e-9 is not transitive; an order must be.
  std::vector<SetValue> values;
  for (const double cost : {0.0, 0.3e-9, 0.7e-9, 1.0e-9, 1.4e-9, 2.2e-9})
    for (const double accuracy : {0.5, 0.5 + 0.7e-9, 0.5 + 1.4e-9})
      values.push_back({{}, true, cost, accuracy});
  for (const Aim& aim : {Aim(AccuracyDrop{0.02}), Aim(MaxCost{0.6})}) {
    const auto equal = [&](const SetValue& a, const SetValue& b) {
      return !is_better(aim, a, b) && !is_better(aim, b, a);
    };
    for (const SetValue& a : values)
      for (const SetValue& b : values)
        for (const SetValue& c : values) {
          if (is_better(aim, a, b) && is_better(aim, b, c)) {
            EXPECT_TRUE(is_better(aim, a, c));
          }
          if (equal(a, b) && equal(b, c)) {
            EXPECT_TRUE(equal(a, c));
          }
        }
  }
}

TEST(ExitSearch, FindsTheSameWithAnyNumberOfThreads) {
  const Scene images = scene(5, 2, 150, 12);
  ExitSearchOptions options = options_for(AccuracyDrop{0.02}, 0, 2);
  options.max_threads = 1;
  const ExitSearch alone = images.search(options);
  options.max_threads = 3;
  const ExitSearch several = images.search(options);
  EXPECT_EQ(alone.best.set, several.best.set);
  EXPECT_EQ(alone.best.relative_cost, several.best.relative_cost);
  EXPECT_EQ(alone.evaluated, several.evaluated);
}

TEST(ExitSearch, RefusesInvalidRequests) {
  const Scene images = scene(2, 1, 50, 9);
  EXPECT_THAT([&] { images.search(options_for(FixedThreshold{0.5}, 10)); },
              ThrowsMessage<UsageError>("aim: exits cannot be chosen for a fixed threshold"));
  Policy patient = fit_policy({Criterion::patience, Ensemble::off}, images.view());
  EXPECT_THROW(search_exits(patient, images.view(), images.costs, options_for(AccuracyDrop{0}, 10)),
               UsageError);
  CandidateCosts costs = images.costs;
  costs.head.pop_back();
  EXPECT_THROW(search_exits(fit_policy({}, images.view()), images.view(), costs,
                            options_for(AccuracyDrop{0}, 10)),
               Error);
}

}  // namespace
}  // namespace offramp::policy
