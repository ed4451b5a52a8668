#include "eval/baselines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/error.h"

namespace offramp::eval {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Four images of two classes and two exits. Exit 1 is correct on images 0 and 1, exit 2 on 0, 2, 3.
class Baselines : public testing::Test {
 protected:
  std::vector<std::int64_t> labels = {0, 1, 1, 0};
  std::vector<float> logits = {2, 1, 0, 3, 4, 1, 0, 1,   // exit 1 predicts 0 1 0 1
                               5, 0, 1, 0, 0, 2, 3, 1};  // exit 2 predicts 0 0 1 0
  policy::LogitsView view{logits, labels, 2, 2};
  std::vector<std::int64_t> policy = {0, 1, 1, 0};  // correct on all images
  std::vector<double> costs = {0.25, 1.5};
};

TEST_F(Baselines, CompareAnotherNetworkWithThePolicy) {
  const std::vector<std::int64_t> other = {0, 0, 1, 1};
  const Baseline control = compare_with_baseline(labels, policy, other, 0.5);
  EXPECT_DOUBLE_EQ(control.accuracy, 0.5);
  EXPECT_DOUBLE_EQ(control.relative_cost, 0.5);
  EXPECT_DOUBLE_EQ(control.difference, 0.5);
  const Interval expected = paired_difference(2, 0, 4);
  EXPECT_DOUBLE_EQ(control.difference_interval.low, expected.low);
  EXPECT_DOUBLE_EQ(control.difference_interval.high, expected.high);
  EXPECT_DOUBLE_EQ(control.accuracy_interval->low, wilson(2, 4).low);
}

// With shares 1/4 and 3/4, a random exit is correct with probability 1, 1/4, 3/4, 3/4.
TEST_F(Baselines, ComputeTheExpectationOfRandomExits) {
  const std::vector<double> shares = {0.25, 0.75};
  const Baseline control = random_exits(view, policy, shares, costs);
  EXPECT_DOUBLE_EQ(control.accuracy, 2.75 / 4);
  EXPECT_DOUBLE_EQ(control.relative_cost, 0.25 * 0.25 + 0.75 * 1.5);
  EXPECT_FALSE(control.accuracy_interval);
  EXPECT_DOUBLE_EQ(control.difference, 1.25 / 4);
  // The differences are 0, 3/4, 1/4, 1/4 with the variance (0 + 9 + 1 + 1) / 64 - (5 / 16)^2.
  const double half = 1.959963984540054 * std::sqrt((11.0 / 64 - 25.0 / 256) / 4);
  EXPECT_NEAR(control.difference_interval.low, 1.25 / 4 - half, 1e-12);
  EXPECT_NEAR(control.difference_interval.high, 1.25 / 4 + half, 1e-12);
}

TEST_F(Baselines, LetTheOracleStopAtTheFirstCorrectExit) {
  const Baseline all_right = oracle(view, policy, costs);
  EXPECT_DOUBLE_EQ(all_right.accuracy, 1);
  EXPECT_DOUBLE_EQ(all_right.relative_cost, (0.25 + 0.25 + 1.5 + 1.5) / 4);
  labels[0] = 1;  // no exit is correct, so the image stops at exit 1
  const Baseline missing = oracle(view, policy, costs);
  EXPECT_DOUBLE_EQ(missing.accuracy, 0.75);
  EXPECT_DOUBLE_EQ(missing.relative_cost, (0.25 + 0.25 + 1.5 + 1.5) / 4);
}

TEST_F(Baselines, RefuseSizesThatDoNotFit) {
  EXPECT_THAT([&] { compare_with_baseline(labels, policy, std::vector<std::int64_t>{1}, 1); },
              ThrowsMessage<Error>("got 1 predictions for 4 images"));
  EXPECT_THAT([&] { random_exits(view, policy, std::vector<double>{1}, costs); },
              ThrowsMessage<Error>("got 1 values, expected 2: one for each exit"));
  EXPECT_THAT([&] { compare_with_baseline({}, {}, {}, 1); },
              ThrowsMessage<Error>("no image to compare on"));
}

}  // namespace
}  // namespace offramp::eval
