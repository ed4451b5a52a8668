#include "policy/criteria.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace offramp::policy {
namespace {

using testing::ElementsAre;
using testing::ThrowsMessage;

TEST(Criteria, AreOneRowEach) {
  EXPECT_THAT(all_criteria(), ElementsAre(Criterion::confidence, Criterion::entropy,
                                          Criterion::margin, Criterion::patience));
  for (const CriterionInfo& row : criteria()) {
    EXPECT_EQ(&info(row.criterion), &row);
    EXPECT_EQ(to_string(row.criterion), row.name);
    EXPECT_EQ(criterion_from_string(row.name), row.criterion);
  }
  EXPECT_EQ(criteria_names(), "confidence, entropy, margin or patience");
}

TEST(Criteria, ThatHaveNoHistoryScoreASingleExit) {
  const std::vector<float> p = {0.25f, 0.75f};
  for (const CriterionInfo& row : criteria()) {
    if (row.has_history)
      EXPECT_THROW(score(row.criterion, p), Error) << row.name;
    else
      EXPECT_LE(score(row.criterion, p), row.most_threshold) << row.name;
  }
}

TEST(Criteria, CheckAThresholdThatAUserGives) {
  for (const double threshold : {0.0, 0.5, 1.0}) check_threshold(Criterion::entropy, threshold);
  for (const double threshold : {-0.1, 1.1, std::nan("")})
    EXPECT_THROW(check_threshold(Criterion::margin, threshold), UsageError) << threshold;
  for (const double threshold : {1.0, 2.0, 1000.0}) check_threshold(Criterion::patience, threshold);
  for (const double threshold : {0.0, 1.5, 1001.0, std::nan("")})
    EXPECT_THROW(check_threshold(Criterion::patience, threshold), UsageError) << threshold;
  EXPECT_THAT([] { check_threshold(Criterion::confidence, 2); },
              ThrowsMessage<UsageError>("expected a score from 0 to 1, got 2"));
}

TEST(Criteria, FormatAThresholdWithTheDigitsThatMatter) {
  EXPECT_EQ(format_threshold(Criterion::confidence, 0.8021f), "0.8021");
  EXPECT_EQ(format_threshold(Criterion::confidence, 0.9999875f), "0.9999875");
  EXPECT_EQ(format_threshold(Criterion::confidence, 1), "1.0000");
  EXPECT_EQ(format_threshold(Criterion::patience, 2), "2");
}

}  // namespace
}  // namespace offramp::policy
