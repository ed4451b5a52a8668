#include "eval/overthinking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "core/error.h"
#include "eval/metrics.h"

namespace offramp::eval {
namespace {

using ::testing::ElementsAre;

/// Images of two classes. Each row has the classes that three exits predict, and the label.
struct Example {
  std::vector<float> logits;
  std::vector<std::int64_t> labels;
  explicit Example(const std::vector<std::array<int, 4>>& images) {
    for (std::size_t k = 0; k < 3; ++k)
      for (const auto& image : images) {
        logits.push_back(image[k] == 0 ? 1.0f : 0.0f);
        logits.push_back(image[k] == 0 ? 0.0f : 1.0f);
      }
    for (const auto& image : images) labels.push_back(image[3]);
  }
  policy::LogitsView view() const { return {logits, labels, 3, 2}; }
};

const Example kExample({{0, 0, 0, 0},    // correct from exit 1 on: wasteful
                        {0, 1, 1, 0},    // correct only at exit 1
                        {1, 0, 0, 0},    // correct from exit 2 on: wasteful
                        {1, 1, 0, 0},    // correct only at exit 3
                        {1, 1, 1, 0},    // never correct
                        {0, 1, 0, 1},    // correct only at exit 2
                        {1, 0, 1, 1},    // correct at exits 1 and 3, wrong at 2: wasteful
                        {1, 1, 0, 1}});  // correct at exits 1 and 2, wrong at 3

TEST(OverthinkingByClass, CountsWhereAnswersAreFoundAndLost) {
  const auto rows = overthinking_by_class(kExample.view());
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].images, 5);
  EXPECT_THAT(rows[0].first_correct, ElementsAre(2, 1, 1));
  EXPECT_THAT(rows[0].lost_after, ElementsAre(1, 0));
  EXPECT_EQ(rows[0].wasteful(), 2);
  EXPECT_EQ(rows[0].errors(), 2);
  EXPECT_DOUBLE_EQ(rows[0].destroyed_errors(), 0.5);
  EXPECT_EQ(rows[1].images, 3);
  EXPECT_THAT(rows[1].first_correct, ElementsAre(2, 1, 0));
  EXPECT_THAT(rows[1].lost_after, ElementsAre(0, 2));
  EXPECT_EQ(rows[1].wasteful(), 1);
  EXPECT_DOUBLE_EQ(rows[1].destroyed_errors(), 1);
}

TEST(OverthinkingByClass, SumsToWhatTheMetricsSay) {
  const OverthinkingCounts all = sum_of_counts(overthinking_by_class(kExample.view()));
  const OverthinkingCounts counts =
      measure(kExample.view(), std::vector<double>{1, 1, 1}).overthinking;
  EXPECT_EQ(all.images, 8);
  EXPECT_EQ(counts.images, 8);
  EXPECT_EQ(all.first_correct, counts.first_correct);
  EXPECT_EQ(all.lost_after, counts.lost_after);
  EXPECT_EQ(counts.rate(counts.oracle()), 7 / 8.0);
  // Computed by hand: 4 images stop at exit 1, 2 at exit 2 and 1 at exit 3.
  EXPECT_DOUBLE_EQ(all.needed_cost({0.25, 0.5, 1}), (4 * 0.25 + 2 * 0.5 + 1) / 7);
}

TEST(OverthinkingByClass, OfOneExitAreZero) {
  const std::vector<float> logits = {1, 0, 0, 1};
  const std::vector<std::int64_t> labels = {0, 0};
  const auto rows = overthinking_by_class({logits, labels, 1, 2});
  EXPECT_THAT(rows[0].first_correct, ElementsAre(1));
  EXPECT_TRUE(rows[0].lost_after.empty());
  EXPECT_EQ(rows[0].wasteful(), 0);
  EXPECT_EQ(rows[0].errors(), 1);
}

TEST(OverthinkingByClass, RefusesWhatDoesNotFit) {
  const std::vector<float> logits = {1, 0, 0, 1};
  const std::vector<std::int64_t> labels = {0, 2};
  EXPECT_THROW(overthinking_by_class({logits, labels, 1, 2}), Error);
}

TEST(OverthinkingByClass, IsAllZerosIfNothingIsCorrectOrThereIsNoImage) {
  const auto rows = overthinking_by_class(Example({{1, 1, 1, 0}}).view());
  EXPECT_EQ(rows[0].needed_cost({1, 2, 3}), 0);
  EXPECT_EQ(rows[0].destroyed_errors(), 0);
  EXPECT_EQ(rows[1].images, 0);
  EXPECT_EQ(rows[1].destroyed_errors(), 0);
}

}  // namespace
}  // namespace offramp::eval
