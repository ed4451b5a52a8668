#include "cli/policy_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace offramp::cli {
namespace {

using testing::ThrowsMessage;

TEST(PolicyFlags, BecomeAChoice) {
  PolicyFlags flags;
  flags.threshold = 0.5;
  flags.criterion = "margin";
  const workflow::PolicyChoice choice = policy_choice(flags);
  EXPECT_EQ(choice.threshold, 0.5);
  EXPECT_EQ(choice.criterion, policy::Criterion::margin);
  EXPECT_FALSE(choice.no_policy);
}

TEST(PolicyFlags, AreRefusedByNameIfInvalid) {
  EXPECT_THAT(
      [] {
        policy_choice({{}, "margin", false});
      },
      ThrowsMessage<UsageError>("--criterion: needs --threshold"));
  EXPECT_THAT(
      [] {
        policy_choice({0.5, "confidence", true});
      },
      ThrowsMessage<UsageError>("--no-policy: cannot be used with --threshold"));
  EXPECT_THAT(
      [] {
        policy_choice({1.5, "confidence", false});
      },
      ThrowsMessage<UsageError>("--threshold: expected a score from 0 to 1, got 1.5"));
}

}  // namespace
}  // namespace offramp::cli
