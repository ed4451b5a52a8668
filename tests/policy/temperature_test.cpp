#include "policy/temperature.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "policy/policy.h"

namespace offramp::policy {
namespace {

using Labels = std::vector<std::int64_t>;

TEST(Temperature, AgreesWithBisectionInPython) {
  const std::vector<float> logits = {2, 0, 0, 0, 3, 0, 1, 1, 0, 0, 0, 4, 3, 0, 1};
  // The golden value comes from a bisection of the likelihood's derivative in double, in Python.
  EXPECT_NEAR(fit_temperature(logits, Labels{0, 1, 1, 2, 2}), 1.2338525800177977, 1e-9);
}

struct Drawn {
  std::vector<float> logits;
  Labels labels;
};

// Draws labels from the softmax of random logits at a temperature.
Drawn drawn(int images, int classes, float temperature, std::uint64_t seed) {
  const auto width = static_cast<std::size_t>(classes);
  Drawn result;
  std::vector<float> z(width), p(width);
  for (int i = 0; i < images; ++i) {
    core::KeyedRandom random(seed, static_cast<std::uint64_t>(i));
    for (float& value : z) value = random.uniform(-4, 4);
    softmax(z, temperature, p);
    float u = random.uniform();
    std::int64_t label = 0;
    while (label + 1 < classes && u >= p[static_cast<std::size_t>(label)])
      u -= p[static_cast<std::size_t>(label++)];
    result.logits.insert(result.logits.end(), z.begin(), z.end());
    result.labels.push_back(label);
  }
  return result;
}

TEST(Temperature, FindsTheTemperatureThatLabelsWereDrawnWith) {
  for (const float truth : {0.5f, 1.0f, 2.5f}) {
    const Drawn data = drawn(20000, 5, truth, 11);
    EXPECT_NEAR(fit_temperature(data.logits, data.labels), truth, 0.05 * truth);
  }
}

double nll(const Drawn& data, double temperature) {
  const std::size_t classes = data.logits.size() / data.labels.size();
  double sum = 0;
  for (std::size_t i = 0; i < data.labels.size(); ++i) {
    const float* z = data.logits.data() + i * classes;
    double total = 0;
    for (std::size_t c = 0; c < classes; ++c) total += std::exp(z[c] / temperature);
    sum += std::log(total) - z[data.labels[i]] / temperature;
  }
  return sum;
}

// With many sets of images, some steps reach the minimum exactly, to the last bit.
TEST(Temperature, IsOptimal) {
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const Drawn data = drawn(60, 4, 0.3f + static_cast<float>(seed % 10) / 4, 1000 + seed);
    const double fitted = fit_temperature(data.logits, data.labels), least = nll(data, fitted);
    if (fitted >= kHighestTemperature) continue;  // the minimum lies above the highest temperature
    ASSERT_LE(least, nll(data, fitted * 1.001)) << "seed " << seed << ", " << fitted;
    ASSERT_LE(least, nll(data, fitted / 1.001)) << "seed " << seed << ", " << fitted;
  }
}

TEST(Temperature, StopsAtItsBoundsWhereThereIsNoMinimum) {
  const std::vector<float> sure = {5, 0, 0, 5};
  EXPECT_EQ(fit_temperature(sure, Labels{0, 1}), kLowestTemperature);
  EXPECT_EQ(fit_temperature(sure, Labels{1, 0}), kHighestTemperature);
}

TEST(Temperature, IsOneIfAllTemperaturesAreEquallyGood) {
  EXPECT_EQ(fit_temperature(std::vector<float>{1, 1, 2, 2}, Labels{0, 1}), 1);
  EXPECT_EQ(fit_temperature(std::vector<float>{4, -7}, Labels{0, 0}), 1);  // one class
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(fit_temperature(std::vector<float>{nan, 2}, Labels{0}), 1);
}

TEST(Temperature, LeavesOutImagesWithNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> clean = {2, 0, 0, 1, 1, 0}, with_nan = {2, 0, 0, 1, nan, 0, 1, 0};
  EXPECT_DOUBLE_EQ(fit_temperature(with_nan, Labels{0, 0, 1, 0}),
                   fit_temperature(clean, Labels{0, 0, 0}));
}

TEST(EnsembleWeights, AreLargestForTheMostAccurateExit) {
  // Exit 1 gives every label 0.2 and exit 2 gives 0.9, so exit 1 gets the smallest weight allowed.
  const std::vector<double> given = {0.2, 0.2, 0.2, 0.9, 0.9, 0.9};
  const auto weights = fit_ensemble_weights(given, 2);
  EXPECT_NEAR(weights[0], 0.001, 1e-5);
  EXPECT_NEAR(weights[0] + weights[1], 1, 1e-12);
}

TEST(EnsembleWeights, BalanceExitsThatAreCorrectOnDifferentImages) {
  // Likelihood w a + (1 - w) b over images (0.8, 0.2) × 3 and (0.2, 0.8) × 1:
  // 3 · 0.6 / (0.2 + 0.6 w) = 0.6 / (0.8 - 0.6 w), so w = 2.2 / 2.4.
  const std::vector<double> given = {0.8, 0.8, 0.8, 0.2, 0.2, 0.2, 0.2, 0.8};
  EXPECT_NEAR(fit_ensemble_weights(given, 2)[0], 2.2 / 2.4, 1e-6);
}

TEST(Temperature, RefusesLabelsThatAreNoClass) {
  const std::vector<float> logits = {2, 0, 0, 3};
  for (const std::int64_t label : {-1, 2, 1'000'000, -100'000'000})
    EXPECT_THAT(
        [&] {
          fit_temperature(logits, Labels{0, label});
        },
        testing::ThrowsMessage<Error>(
            fmt::format("label {} of image index 1 is out of range for 2 classes", label)));
  EXPECT_THAT([&] { fit_temperature(logits, Labels{}); }, testing::Throws<Error>());
  EXPECT_THAT([&] { fit_temperature(logits, Labels{0, 0, 0}); }, testing::Throws<Error>());
}

// The conditions of Karush, Kuhn and Tucker for the best weights: raising a weight at the expense
// of the others does not raise the likelihood, and lowering one above the minimum does not either.
TEST(EnsembleWeights, AreOptimal) {
  for (std::uint64_t round = 0; round < 60; ++round) {
    core::KeyedRandom random(29, round);
    const std::size_t exits = 2 + random.below(5), images = 50 + random.below(400);
    std::vector<double> given(exits * images);
    for (std::size_t i = 0; i < images; ++i) {
      const double common = random.uniform();  // exits agree on most images
      for (std::size_t e = 0; e < exits; ++e)
        given[e * images + i] = std::clamp(
            common + 0.1 * (random.uniform() - 0.5) + 0.02 * static_cast<double>(e), 1e-6, 1.0);
    }
    const auto weights = fit_ensemble_weights(given, static_cast<int>(exits));
    ASSERT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0), 1, 1e-12);
    std::vector<double> gain(exits, 0.0);
    for (std::size_t i = 0; i < images; ++i) {
      double mixed = 0;
      for (std::size_t e = 0; e < exits; ++e) mixed += weights[e] * given[e * images + i];
      for (std::size_t e = 0; e < exits; ++e)
        gain[e] += given[e * images + i] / mixed / static_cast<double>(images);
    }
    const double most = *std::ranges::max_element(gain);
    for (std::size_t e = 0; e < exits; ++e) {
      ASSERT_GE(weights[e], 0.001 - 1e-12);
      if (weights[e] > 0.00101) {
        EXPECT_NEAR(gain[e], most, 1e-5) << round;
      }
    }
  }
}

TEST(EnsembleWeights, OfNothingAreEqual) {
  EXPECT_EQ(fit_ensemble_weights(std::vector<double>(6, 0.0), 2), (std::vector{0.5, 0.5}));
}

}  // namespace
}  // namespace offramp::policy
