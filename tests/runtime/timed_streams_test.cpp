#include "runtime/timed_streams.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "tests/support/graphs.h"
#include "tests/support/random_weights.h"
#include "tests/support/runner_predictor.h"

namespace offramp {
namespace {

constexpr int kImages = 37;

/// What the policy says of each image, read off the logits of all exits.
ImageOutcomes replayed(const Graph& graph, const Tensors& weights, std::span<const float> images,
                       const Policy& policy) {
  RunnerPredictor predictor(open_network(graph, weights, NetworkOptions{}));
  const std::vector<float> logits = predictor.predict_all(images);
  const auto classes = static_cast<std::size_t>(predictor.num_classes());
  ImageOutcomes outcomes(kImages);
  for (std::size_t i = 0; i < kImages; ++i) {
    Opinion opinion;
    for (int k = 0; k < predictor.num_exits(); ++k) {
      const std::size_t row = static_cast<std::size_t>(k) * kImages + i;
      outcomes.exit_index[i] = k;
      const bool stops =
          consult(policy, k, std::span(logits).subspan(row * classes, classes), opinion);
      outcomes.answers[i] = opinion.answer;
      if (stops) break;
    }
  }
  return outcomes;
}

/// The score that half the images reach at exit 1.
float median_score(const Graph& graph, const Tensors& weights, std::span<const float> images,
                   const Policy& policy) {
  RunnerPredictor predictor(open_network(graph, weights, NetworkOptions{}));
  const std::vector<float> logits = predictor.predict_all(images);
  const auto classes = static_cast<std::size_t>(predictor.num_classes());
  std::vector<float> scores;
  for (std::size_t i = 0; i < kImages; ++i) {
    Opinion opinion;
    consult(policy, 0, std::span(logits).subspan(i * classes, classes), opinion);
    scores.push_back(opinion.score);
  }
  std::ranges::sort(scores);
  return scores[kImages / 2];
}

class TimedSplits : public testing::TestWithParam<std::pair<Split, int>> {};

TEST_P(TimedSplits, StopWherePolicyAndLogitsSay) {
  const auto [split, batch] = GetParam();
  const Graph graph = small_resnet();
  const Tensors weights = random_weights(graph, 1);
  const std::vector<float> images = random_images(graph, kImages, 2);
  Policy policy = never_stop(3);
  policy.ensemble = Ensemble::mean;
  policy.thresholds[0] = median_score(graph, weights, images, policy);
  const ImageOutcomes expected = replayed(graph, weights, images, policy);
  ASSERT_NE(std::ranges::min(expected.exit_index), std::ranges::max(expected.exit_index));

  TimedStreams streams(graph, weights, {Precision::f32, batch, split, {}});
  std::vector<std::int64_t> order;
  for (std::int64_t i = kImages; i > 0; --i) order.push_back(i - 1);
  ImageOutcomes outcomes(kImages);
  for (int round = 0; round < 2; ++round) {
    std::ranges::fill(outcomes.answers, -1);
    const double seconds = streams.run(images, order, policy, outcomes);
    EXPECT_EQ(outcomes.exit_index, expected.exit_index);
    EXPECT_EQ(outcomes.answers, expected.answers);
    EXPECT_GT(std::ranges::min(outcomes.seconds), 0);
    EXPECT_LE(std::ranges::max(outcomes.seconds), seconds);
  }
  // Some of the images alone.
  ImageOutcomes some(kImages);
  streams.run(images, std::span(order).first(5), policy, some);
  EXPECT_EQ(std::ranges::count(some.answers, -1), kImages - 5);
  EXPECT_EQ(some.answers.back(), expected.answers.back());
}

INSTANTIATE_TEST_SUITE_P(TimedStreams, TimedSplits,
                         testing::Values(std::pair{Split{1, 1}, 1}, std::pair{Split{1, 2}, 1},
                                         std::pair{Split{2, 1}, 1}, std::pair{Split{2, 1}, 8},
                                         std::pair{Split{1, 2}, 8}, std::pair{Split{3, 1}, 64}));

TEST(TimedStreams, RefuseAnEmptyBatch) {
  const Graph graph = small_resnet();
  EXPECT_THROW(TimedStreams(graph, random_weights(graph, 1), {Precision::f32, 0, {1, 1}, {}}),
               UsageError);
}

}  // namespace
}  // namespace offramp
