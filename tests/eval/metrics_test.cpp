#include "eval/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"

namespace offramp::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::ThrowsMessage;

/// Logits and labels together with their memory.
struct Example {
  int exits = 1, classes = 2;
  std::vector<float> logits;
  std::vector<std::int64_t> labels;

  policy::LogitsView view() const { return {logits, labels, exits, classes}; }
  Metrics measured(std::vector<double> weights = {}) const {
    if (weights.empty()) weights.assign(static_cast<std::size_t>(exits), 1.0);
    return measure(view(), weights);
  }
};

float logit(double p) { return static_cast<float>(std::log(p)); }

// The golden values come from the formula of Bonett and Price, computed in Python.
TEST(PairedDifference, GivesKnownIntervals) {
  const Interval interval = paired_difference(30, 50, 10000);
  EXPECT_NEAR(interval.low, -0.0037736352967787413, 1e-15);
  EXPECT_NEAR(interval.high, -0.0002255648631892661, 1e-15);
  // Without any change the interval is not empty, and it contains 0.
  EXPECT_LT(paired_difference(0, 0, 100).low, 0);
  EXPECT_DOUBLE_EQ(paired_difference(0, 0, 100).low, -paired_difference(0, 0, 100).high);
}

TEST(Wilson, GivesKnownIntervals) {
  // The golden values are the roots of |p - 0.8| = z sqrt(p (1 - p) / 10), found by bisection.
  EXPECT_NEAR(wilson(8, 10).low, 0.4901624715366417, 1e-12);
  EXPECT_NEAR(wilson(8, 10).high, 0.9433178485456247, 1e-12);
  // Computed by hand: z² / (n + z²) with z² = 3.841458820694124.
  EXPECT_EQ(wilson(0, 20).low, 0);
  EXPECT_NEAR(wilson(0, 20).high, 3.841458820694124 / 23.841458820694124, 1e-12);
  EXPECT_NEAR(wilson(20, 20).low, 20 / 23.841458820694124, 1e-12);
  EXPECT_EQ(wilson(20, 20).high, 1);
}

TEST(Metrics, AreThoseComputedByHand) {
  // Exit 1 gives the label 3/4 for one image (correct) and 1/4 for the other (wrong). Exit 2 gives
  // 1/2 for both; in a tie the first class is predicted.
  const Example example{
      2, 2, {logit(0.75), logit(0.25), logit(0.75), logit(0.25), 0, 0, 0, 0}, {0, 1}};
  const Metrics metrics = example.measured();
  EXPECT_EQ(metrics.images, 2);
  ASSERT_EQ(metrics.exits.size(), 2u);
  EXPECT_EQ(metrics.exits[0].accuracy, 0.5);
  EXPECT_NEAR(metrics.exits[0].nll, -(std::log(0.75) + std::log(0.25)) / 2, 1e-7);
  // Both images are in the same bin, with accuracy 0.5 and confidence 0.75.
  EXPECT_NEAR(metrics.exits[0].ece, 0.25, 1e-7);
  EXPECT_EQ(metrics.exits[1].accuracy, 0.5);
  EXPECT_NEAR(metrics.exits[1].nll, std::log(2.0), 1e-12);
  EXPECT_NEAR(metrics.exits[1].ece, 0, 1e-12);
}

TEST(Metrics, CountOverthinking) {
  // Each row lists the classes that three exits predict for an image; the label is always 0.
  const int answers[][3] = {{0, 0, 0}, {0, 1, 1}, {1, 0, 0}, {1, 1, 0},
                            {1, 1, 1}, {1, 0, 1}, {0, 1, 0}, {1, 1, 1}};
  Example example{3, 2, {}, std::vector<std::int64_t>(8, 0)};
  for (int exit = 0; exit < 3; ++exit)
    for (const auto& answer : answers) {
      example.logits.push_back(answer[exit] == 0 ? 1.0f : 0.0f);
      example.logits.push_back(answer[exit] == 0 ? 0.0f : 1.0f);
    }
  const OverthinkingCounts overthinking = example.measured().overthinking;
  EXPECT_EQ(overthinking.wasteful(), 3);     // images 1, 3, 7
  EXPECT_EQ(overthinking.destructive(), 2);  // images 2, 6
  EXPECT_EQ(overthinking.oracle(), 6);       // all but images 5, 8
}

TEST(Metrics, TellTheEnsemblesApart) {
  // One image; p of exit 1: (0.90, 0.08, 0.02); of exits 2 and 3: (0.04, 0.48, 0.48).
  // mean: 0.327, 0.347, 0.327 -> class 1. geometric: 0.9·0.04² = 0.00144, 0.08·0.48² = 0.0184,
  // 0.0046 -> class 1. Weighted (8, 1, 1): 7.28, 1.60, 1.12 -> class 0.
  Example example{3, 3, {}, {0}};
  for (double p : {0.90, 0.08, 0.02, 0.04, 0.48, 0.48, 0.04, 0.48, 0.48})
    example.logits.push_back(logit(p));
  const auto correct = [&](std::vector<double> weights) {
    std::vector<double> accuracies;
    for (const EnsembleMetrics& ensemble : example.measured(std::move(weights)).ensembles)
      accuracies.push_back(ensemble.accuracy);
    return accuracies;
  };
  EXPECT_THAT(correct({8, 1, 1}), ElementsAre(0, 0, 1));
  EXPECT_THAT(correct({1, 1, 1}), ElementsAre(0, 0, 0));
  EXPECT_THAT(correct({1, 0, 0}), ElementsAre(0, 0, 1));
  // If one exit is certain of the wrong class, the arithmetic mean can still be correct, but the
  // geometric mean is not: p is (0.70, 0.30), (0.70, 0.30), (0.0001, 0.9999).
  const Example veto{
      3, 2, {logit(0.7), logit(0.3), logit(0.7), logit(0.3), logit(1e-4), logit(0.9999)}, {1}};
  EXPECT_EQ(veto.measured().ensembles[0].accuracy, 1);
  const Example mild{
      3, 2, {logit(0.8), logit(0.2), logit(0.8), logit(0.2), logit(1e-4), logit(0.9999)}, {0}};
  EXPECT_EQ(mild.measured().ensembles[0].accuracy, 1);
  EXPECT_EQ(mild.measured().ensembles[1].accuracy, 0);
}

TEST(Metrics, PutAConfidenceOnABoundaryIntoTheLowerBin) {
  // With 15 equally likely classes the confidence is 1/15, the upper end of the first bin, and the
  // image is correct. Another image is wrong with a slightly higher confidence, which lies in the
  // second bin. If both were in the same bin, the error would be averaged.
  Example example{1, 15, std::vector<float>(30, 0.0f), {0, 1}};
  example.logits[15] = 1e-3f;
  const double above = std::exp(double{1e-3f}) / (std::exp(double{1e-3f}) + 14);
  EXPECT_NEAR(example.measured().exits[0].ece, ((1 - 1 / 15.0) + above) / 2, 1e-9);
}

TEST(Metrics, CountConfidentAndCorrectAnswers) {
  Example example{1, 2, {}, {0, 0, 0, 0, 1}};
  for (double p : {0.85, 0.95, 0.995, 0.9995, 0.9999}) {
    example.logits.push_back(logit(p));
    example.logits.push_back(logit(1 - p));
  }
  EXPECT_THAT(example.measured().exits[0].confident_and_correct, ElementsAre(3, 2, 1));
}

/// Returns the logits of metrics_golden.py, from the same formula in double.
Example golden() {
  constexpr int kImages = 200;
  Example example{3, 10, {}, {}};
  for (int n = 0; n < kImages; ++n) example.labels.push_back((n * 31 + 7) % 10);
  for (int k = 0; k < 3; ++k)
    for (int n = 0; n < kImages; ++n)
      for (int c = 0; c < 10; ++c) {
        const long noise = ((k + 1) * 7919L + (n + 1) * 104729L + (c + 1) * 1299709L +
                            (n + 3L) * (c + 5) * (k + 2) * 613) %
                           997;
        double value = static_cast<double>(noise) / 997.0 * 4.0 - 2.0;
        if (c == example.labels[static_cast<std::size_t>(n)] && n % 7 > 2 - k)
          value += (k + 1) * (k + 1);
        example.logits.push_back(static_cast<float>(value));
      }
  return example;
}

// The golden values were printed by `python3 tests/eval/metrics_golden.py` (numpy 1.24).
TEST(Metrics, AgreeWithAnIndependentComputation) {
  const Metrics metrics = golden().measured({0.5, 2.0, 0.25});
  struct Expected {
    double correct, low, high, nll, ece;
    std::array<std::int64_t, 3> sure;
  };
  const Expected expected[] = {
      {49, 0.190568680890372, 0.309042435562034, 2.47360228621911, 0.178114207082944, {0, 0, 0}},
      {146, 0.664565648013316, 0.786765501853142, 1.05967126856992, 0.177968505641481, {26, 0, 0}},
      {176,
       0.827657479017032,
       0.918020072936245,
       0.345208517784644,
       0.0229595587048789,
       {171, 152, 61}},
  };
  constexpr double kClose = 1e-12;  // allows for rounding of sums of 200 terms near 1 in double
  for (std::size_t k = 0; k < 3; ++k) {
    SCOPED_TRACE(k);
    EXPECT_EQ(metrics.exits[k].accuracy, expected[k].correct / 200);
    EXPECT_NEAR(metrics.exits[k].accuracy_interval.low, expected[k].low, kClose);
    EXPECT_NEAR(metrics.exits[k].accuracy_interval.high, expected[k].high, kClose);
    EXPECT_NEAR(metrics.exits[k].nll, expected[k].nll, kClose);
    EXPECT_NEAR(metrics.exits[k].ece, expected[k].ece, kClose);
    EXPECT_EQ(metrics.exits[k].confident_and_correct, expected[k].sure);
  }
  EXPECT_EQ(metrics.ensembles[0].accuracy, 173 / 200.0);
  EXPECT_EQ(metrics.ensembles[1].accuracy, 174 / 200.0);
  EXPECT_EQ(metrics.ensembles[2].accuracy, 153 / 200.0);
  EXPECT_EQ(metrics.ensembles[2].kind, EnsembleKind::weighted);
  EXPECT_EQ(metrics.ensembles[2].accuracy_interval.low, wilson(153, 200).low);
  EXPECT_EQ(metrics.overthinking.wasteful(), 144);
  EXPECT_EQ(metrics.overthinking.destructive(), 5);
  EXPECT_EQ(metrics.overthinking.oracle(), 181);
}

TEST(ConfusionMatrix, AgreesWithAnIndependentComputation) {
  const Example example = golden();
  const auto counts = confusion_matrix(example.view(), 0);
  ASSERT_EQ(counts.size(), 100u);
  EXPECT_THAT(std::vector(counts.begin(), counts.begin() + 20),
              ElementsAre(3, 3, 2, 1, 2, 2, 0, 0, 2, 5, 0, 6, 4, 1, 3, 1, 2, 0, 1, 2));
  std::int64_t correct = 0, all = 0;
  for (std::size_t i = 0; i < 100; ++i) {
    all += counts[i];
    if (i % 11 == 0) correct += counts[i];
  }
  EXPECT_EQ(all, 200);
  EXPECT_EQ(static_cast<double>(correct) / 200, example.measured().exits[0].accuracy);
}

TEST(Metrics, OfOneExitHaveEnsemblesEqualToIt) {
  Example example = golden();
  example.exits = 1;
  example.logits.resize(200 * 10);
  const Metrics metrics = example.measured({3});
  for (const EnsembleMetrics& ensemble : metrics.ensembles)
    EXPECT_EQ(ensemble.accuracy, metrics.exits[0].accuracy);
  EXPECT_EQ(metrics.overthinking.wasteful(), 0);
  EXPECT_EQ(metrics.overthinking.destructive(), 0);
  EXPECT_EQ(metrics.overthinking.rate(metrics.overthinking.oracle()), metrics.exits[0].accuracy);
}

TEST(Metrics, OfOneClassAreCertain) {
  const Metrics metrics = Example{2, 1, {5, -3, 0, 1e30f}, {0, 0}}.measured();
  for (const ExitMetrics& exit : metrics.exits) {
    EXPECT_EQ(exit.accuracy, 1);
    EXPECT_EQ(exit.nll, 0);
    EXPECT_EQ(exit.ece, 0);
    EXPECT_THAT(exit.confident_and_correct, ElementsAre(2, 2, 2));
  }
}

TEST(Metrics, GiveATieToTheFirstClass) {
  const Metrics metrics = Example{1, 3, {1, 1, 1, 1, 1, 1}, {0, 2}}.measured();
  EXPECT_EQ(metrics.exits[0].accuracy, 0.5);
  for (const EnsembleMetrics& ensemble : metrics.ensembles) EXPECT_EQ(ensemble.accuracy, 0.5);
}

TEST(Metrics, AcceptLargeLogits) {
  const Metrics metrics = Example{1, 2, {3e38f, -3e38f}, {1}}.measured();
  EXPECT_EQ(metrics.exits[0].accuracy, 0);
  EXPECT_NEAR(metrics.exits[0].nll / 6e38, 1, 1e-6);
}

TEST(Metrics, RefuseInvalidLogitsAndLabels) {
  const auto refused = [](Example example, std::vector<double> weights = {}) {
    return [=] { example.measured(weights); };
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(refused({2, 2, {1, 2, 3, 4, 5, 6, nan, 8}, {0, 1}}),
              ThrowsMessage<Error>("exit 2: a logit of image index 1 is not finite: nan"));
  EXPECT_THAT(refused({1, 2, {1, -std::numeric_limits<float>::infinity()}, {0}}),
              ThrowsMessage<Error>("exit 1: a logit of image index 0 is not finite: -inf"));
  EXPECT_THAT(refused({1, 2, {1, 2, 3, 4}, {0, 2}}),
              ThrowsMessage<Error>("label 2 of image index 1 is out of range for 2 classes"));
  EXPECT_THAT(refused({1, 2, {1, 2}, {-1}}),
              ThrowsMessage<Error>("label -1 of image index 0 is out of range for 2 classes"));
  EXPECT_THAT(refused({1, 2, {1, 2, 3}, {0}}),
              ThrowsMessage<Error>("3 logits do not fit 1 exits, 1 images and 2 classes"));
  EXPECT_THAT(refused({1, 2, {}, {}}), ThrowsMessage<Error>("no image to evaluate"));
  EXPECT_THAT(refused({0, 2, {}, {0}}, {1}),
              ThrowsMessage<Error>("expected logits of at least 1 exit, got 0"));
  EXPECT_THAT(refused({1, 0, {}, {0}}),
              ThrowsMessage<Error>("expected logits of at least 1 class, got 0"));
  EXPECT_THAT(refused({1, 2, {1, 2}, {0}}, {1, 2}),
              ThrowsMessage<Error>("ensemble weights: got 2, expected 1: one for each exit"));
  EXPECT_THAT(refused({1, 2, {1, 2}, {0}}, {0}),
              ThrowsMessage<Error>("ensemble weights: all are 0"));
  EXPECT_THAT(
      refused({1, 2, {1, 2}, {0}}, {-1}),
      ThrowsMessage<Error>("ensemble weights: expected finite numbers of at least 0, got -1"));
}

}  // namespace
}  // namespace offramp::eval
