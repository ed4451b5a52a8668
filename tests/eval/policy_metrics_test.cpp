#include "eval/policy_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace offramp::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(PolicyMetrics, AgreesWithCountsMadeByHand) {
  // Policy and reference of each image:  correct/correct, harmed, helped, both wrong,
  // correct/correct
  const std::vector<std::int64_t> labels = {0, 1, 2, 0, 1};
  const std::vector<std::int64_t> answers = {0, 0, 2, 1, 1};
  const std::vector<std::int64_t> references = {0, 1, 1, 1, 1};
  const std::vector<int> exits = {0, 0, 1, 2, 2};
  const std::vector<double> costs = {0.25, 0.5, 1.0};
  const PolicyMetrics metrics = measure_policy({labels, exits, answers, references}, costs);
  EXPECT_DOUBLE_EQ(metrics.accuracy, 0.6);
  EXPECT_DOUBLE_EQ(metrics.harm, 0.2);
  EXPECT_DOUBLE_EQ(metrics.help, 0.2);
  EXPECT_THAT(metrics.shares, ElementsAre(0.4, 0.2, 0.4));
  EXPECT_DOUBLE_EQ(metrics.relative_cost, (2 * 0.25 + 0.5 + 2 * 1.0) / 5);
  EXPECT_EQ(metrics.accuracy_interval.low, wilson(3, 5).low);
  EXPECT_EQ(metrics.accuracy_interval.high, wilson(3, 5).high);
}

TEST(PolicyMetrics, RefusesWhatDoesNotFit) {
  const auto refusal = [](std::vector<std::int64_t> labels, std::vector<int> exits) {
    const std::vector<std::int64_t> answers = {0};
    const std::vector<double> costs = {0.5, 1.0};
    try {
      measure_policy({labels, exits, answers, answers}, costs);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal({0}, {1}), "");
  EXPECT_THAT(refusal({}, {}), HasSubstr("no image"));
  EXPECT_THAT(refusal({0, 1}, {1}), HasSubstr("expected 2 of each: one for each image"));
  EXPECT_THAT(refusal({0}, {2}), HasSubstr("exit 3 is out of range for 2 exits"));
  EXPECT_THAT(refusal({0}, {-1}), HasSubstr("exit 0 is out of range for 2 exits"));
}

}  // namespace
}  // namespace offramp::eval
