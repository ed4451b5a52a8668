#include "eval/sweep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "policy/thresholds.h"

namespace offramp::eval {
namespace {

constexpr policy::Criterion kAll[] = {policy::Criterion::confidence, policy::Criterion::entropy,
                                      policy::Criterion::margin, policy::Criterion::patience};

struct Logits {
  int exits, classes;
  std::vector<float> values;
  std::vector<std::int64_t> labels;
  policy::LogitsView view() const { return {values, labels, exits, classes}; }
};

Logits random_logits(std::uint64_t seed, int exits, int images, int classes) {
  core::KeyedRandom random(seed, 7);
  Logits result{exits, classes, {}, {}};
  for (int i = 0; i < exits * images * classes; ++i)
    result.values.push_back(std::round(random.uniform(-3, 3) * 4) /
                            4);  // rounded, so that ties occur
  for (int i = 0; i < images; ++i)
    result.labels.push_back(
        static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(classes))));
  return result;
}

policy::Policy shape_of(policy::Ensemble ensemble, int exits) {
  policy::Policy policy = policy::never_stop(exits);
  policy.ensemble = ensemble;
  for (std::size_t k = 0; k < policy.temperatures.size(); ++k)
    policy.temperatures[k] = 0.8f + 0.3f * static_cast<float>(k);
  if (ensemble == policy::Ensemble::weighted)
    policy.ensemble_weights.assign(static_cast<std::size_t>(exits), 0.25f);
  return policy;
}

// Every point equals the result of applying the policy image by image.
TEST(Sweep, AgreesWithReplayingEveryImageAtEveryThreshold) {
  Logits logits = random_logits(1, 4, 700, 5);
  logits.values[3] = std::numeric_limits<float>::quiet_NaN();
  const policy::LogitsView view = logits.view();
  const std::vector<double> costs = {0.25, 0.5, 0.75, 1.0};
  for (const policy::Ensemble ensemble :
       {policy::Ensemble::off, policy::Ensemble::mean, policy::Ensemble::geometric,
        policy::Ensemble::weighted}) {
    policy::Policy policy = shape_of(ensemble, 4);
    const auto thresholds = sweep_thresholds(policy, kAll, view, 12);
    const auto curves = sweep(policy, kAll, thresholds, view, costs);
    ASSERT_EQ(curves.size(), 4u);
    for (const Curve& curve : curves) {
      policy.criterion = curve.criterion;
      ASSERT_FALSE(curve.points.empty());
      for (const SweepPoint& point : curve.points) {
        policy.thresholds.assign(3, point.threshold);
        policy::ExitState exit_state;
        double correct = 0, cost = 0, harm = 0, help = 0;
        for (std::int64_t i = 0; i < view.images(); ++i) {
          int stopped = -1, answer = 0;
          for (int k = 0; k < 4; ++k)
            if (policy::should_exit(policy, k, view.at(k, i), exit_state) && stopped < 0) {
              stopped = k;
              answer = exit_state.answer;
            }
          const auto label = static_cast<int>(view.labels[static_cast<std::size_t>(i)]);
          correct += answer == label;
          cost += costs[static_cast<std::size_t>(stopped)];
          // Harm is counted against the last exit alone, whatever the ensemble.
          const bool last_correct = policy::argmax(view.at(3, i)) == label;
          harm += answer != label && last_correct;
          help += answer == label && !last_correct;
        }
        const auto n = static_cast<double>(view.images());
        SCOPED_TRACE(testing::Message() << to_string(curve.criterion) << " " << to_string(ensemble)
                                        << " " << point.threshold);
        EXPECT_DOUBLE_EQ(point.accuracy, correct / n);
        EXPECT_NEAR(point.relative_cost, cost / n, 1e-12);
        EXPECT_DOUBLE_EQ(point.harm, harm / n);
        EXPECT_DOUBLE_EQ(point.help, help / n);
      }
    }
  }
}

TEST(Sweep, CostsRiseWithTheThreshold) {
  const Logits logits = random_logits(2, 3, 2000, 4);
  const policy::Policy policy = shape_of(policy::Ensemble::off, 3);
  const auto thresholds = sweep_thresholds(policy, kAll, logits.view(), 50);
  for (const Curve& curve :
       sweep(policy, kAll, thresholds, logits.view(), std::vector<double>{0.3, 0.6, 1.0}))
    for (std::size_t m = 1; m < curve.points.size(); ++m) {
      EXPECT_GT(curve.points[m].threshold, curve.points[m - 1].threshold);
      EXPECT_GE(curve.points[m].relative_cost, curve.points[m - 1].relative_cost);
    }
}

TEST(Sweep, EndsWithNeverStopping) {
  const Logits logits = random_logits(5, 4, 600, 4);
  for (const int count : {1, 2, 7, 1000}) {
    const auto thresholds = sweep_thresholds(policy::never_stop(4), kAll, logits.view(), count);
    EXPECT_EQ(thresholds[3].back(), 4);  // the list of patience ends in K
    for (const auto& list : thresholds) EXPECT_LE(list.size(), static_cast<std::size_t>(count));
    for (const Curve& curve : sweep(policy::never_stop(4), kAll, thresholds, logits.view(),
                                    std::vector<double>{0.1, 0.4, 0.8, 1})) {
      EXPECT_EQ(curve.points.back().relative_cost, 1);
      EXPECT_EQ(curve.points.back().shares, (std::vector<double>{0, 0, 0, 1}));
      EXPECT_EQ(curve.points.back().harm, 0);
    }
  }
  const auto all = sweep_thresholds(policy::never_stop(4), kAll, logits.view(), 1000);
  EXPECT_EQ(all[3], (std::vector<float>{1, 2, 3, 4}));
}

TEST(Sweep, IsTheSameForAnyNumberOfThreads) {
  const Logits logits = random_logits(6, 3, 1001, 5);
  const policy::Policy shape = shape_of(policy::Ensemble::geometric, 3);
  const std::vector<double> costs = {0.3, 0.6, 1};
  const auto thresholds = sweep_thresholds(shape, kAll, logits.view(), 100, 1);
  const auto alone = sweep(shape, kAll, thresholds, logits.view(), costs, 1);
  for (const int threads : {0, 2, 3, 7}) {
    EXPECT_EQ(sweep_thresholds(shape, kAll, logits.view(), 100, threads), thresholds);
    const auto together = sweep(shape, kAll, thresholds, logits.view(), costs, threads);
    for (std::size_t c = 0; c < alone.size(); ++c)
      for (std::size_t m = 0; m < alone[c].points.size(); ++m) {
        EXPECT_EQ(together[c].points[m].accuracy, alone[c].points[m].accuracy);
        EXPECT_EQ(together[c].points[m].relative_cost, alone[c].points[m].relative_cost);
        EXPECT_EQ(together[c].points[m].shares, alone[c].points[m].shares);
      }
  }
}

TEST(Sweep, AcceptsOneClassAndNaN) {
  Logits one = random_logits(7, 3, 20, 1);
  const std::vector<double> costs = {0.3, 0.6, 1};
  auto thresholds = sweep_thresholds(policy::never_stop(3), kAll, one.view(), 10);
  for (const Curve& curve : sweep(policy::never_stop(3), kAll, thresholds, one.view(), costs))
    EXPECT_EQ(curve.points.front().accuracy, 1);
  std::ranges::fill(one.values, std::numeric_limits<float>::quiet_NaN());
  thresholds = sweep_thresholds(policy::never_stop(3), kAll, one.view(), 10);
  EXPECT_EQ(thresholds[0], std::vector<float>{2});
  for (const Curve& curve : sweep(policy::never_stop(3), kAll, thresholds, one.view(), costs))
    for (const SweepPoint& point : curve.points) EXPECT_EQ(point.relative_cost, 1);
}

TEST(Sweep, RefusesWhatDoesNotFit) {
  Logits logits = random_logits(8, 2, 10, 3);
  const std::vector<double> costs = {0.5, 1};
  const std::vector<std::vector<float>> thresholds(4, std::vector<float>{0.5f});
  const policy::Policy shape = policy::never_stop(2);
  EXPECT_NO_THROW(sweep(shape, kAll, thresholds, logits.view(), costs));
  EXPECT_THROW(sweep(policy::never_stop(3), kAll, thresholds, logits.view(), costs), Error);
  EXPECT_THROW(sweep(shape, kAll, std::span(thresholds).first(3), logits.view(), costs), Error);
  EXPECT_THROW(sweep(shape, kAll, thresholds, logits.view(), std::span(costs).first(1)), Error);
  const std::vector<std::vector<float>> falling(4, std::vector<float>{0.5f, 0.4f});
  EXPECT_THROW(sweep(shape, kAll, falling, logits.view(), costs), Error);
  logits.values.pop_back();
  EXPECT_THROW(sweep(shape, kAll, thresholds, logits.view(), costs), Error);
  EXPECT_THROW(sweep(shape, kAll, thresholds, policy::LogitsView{{}, {}, 2, 3}, costs), Error);
}

TEST(Sweep, OfOneExitIsOnePoint) {
  const Logits logits = random_logits(3, 1, 10, 3);
  const auto thresholds = sweep_thresholds(policy::never_stop(1), kAll, logits.view(), 5);
  for (const auto& list : thresholds) EXPECT_TRUE(list.empty());
}

}  // namespace
}  // namespace offramp::eval
