#include "policy/aim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "policy/policy.h"

namespace offramp::policy {
namespace {

using testing::ThrowsMessage;

TEST(Aim, IsDescribedAsTheFlagsThatAskForIt) {
  EXPECT_EQ(describe(FixedThreshold{0.9}), "--threshold 0.9");
  EXPECT_EQ(describe(AccuracyDrop{0.005}), "--max-accuracy-drop 0.005");
  EXPECT_EQ(describe(AccuracyDrop{0, "plain.safetensors"}),
            "--max-accuracy-drop 0 --reference plain.safetensors");
  EXPECT_EQ(describe(MaxCost{0.5, CostUnit::ms}), "--max-cost 0.5 --cost ms");
  EXPECT_EQ(describe(HarmGuarantee{0.01}), "--guarantee 0.01 --delta 0.05");
  EXPECT_EQ(describe(HarmGuarantee{.epsilon = 0.01, .against = HarmReference::ensemble}),
            "--guarantee 0.01 --delta 0.05 --against ensemble");
  EXPECT_EQ(describe(HarmGuarantee{0.01, 0.1, true, CostUnit::ms}),
            "--guarantee 0.01 --delta 0.1 --label-free --cost ms");
  EXPECT_EQ(describe_aim(MaxCost{0.5}), "--max-cost 0.5");
  EXPECT_EQ(describe_aim(std::nullopt), "an aim that is not recorded");
}

TEST(Aim, DescribesTheBoundsOfItsCertificate) {
  EXPECT_EQ(describe_bounds({0.01, 0.05}), "harm ≤ 0.01 with probability ≥ 0.95");
  EXPECT_EQ(describe_bounds({.epsilon = 0.01, .against = HarmReference::ensemble}),
            "harm against the ensemble of all exits ≤ 0.01 with probability ≥ 0.95");
  EXPECT_EQ(describe_bounds({0.05, 0.1, true}),
            "answers other than the last exit's ≤ 0.05 with probability ≥ 0.9");
}

TEST(Aim, RefusesInvalidNumbers) {
  const auto refused = [](const Aim& aim, Criterion criterion = Criterion::confidence) {
    return [=] { check(aim, criterion); };
  };
  check(FixedThreshold{1}, Criterion::confidence);
  EXPECT_THAT(refused(FixedThreshold{1.5}),
              ThrowsMessage<UsageError>("threshold: expected a score from 0 to 1, got 1.5"));
  check(FixedThreshold{2}, Criterion::patience);
  EXPECT_THAT(refused(FixedThreshold{0.5}, Criterion::patience),
              ThrowsMessage<UsageError>(
                  "threshold: expected a number of exits that agree, from 1, got 0.5"));
  check(AccuracyDrop{0}, Criterion::confidence);
  EXPECT_THAT(refused(AccuracyDrop{1}),
              ThrowsMessage<UsageError>(
                  "max_drop: expected a fraction of 1 (0.005 is half a point), got 1"));
  EXPECT_THAT(
      refused(MaxCost{0}),
      ThrowsMessage<UsageError>("max_relative_cost: expected a relative cost above 0, got 0"));
  EXPECT_THROW(check(MaxCost{std::nan("")}, Criterion::confidence), UsageError);
  EXPECT_THAT(refused(HarmGuarantee{1}),
              ThrowsMessage<UsageError>("epsilon: expected a rate between 0 and 1, got 1"));
  EXPECT_THAT(refused(HarmGuarantee{0.5, 0}),
              ThrowsMessage<UsageError>("delta: expected a probability between 0 and 1, got 0"));
}

TEST(CostUnit, HasANameForEachValue) {
  for (const CostUnit unit : {CostUnit::macs, CostUnit::ms})
    EXPECT_EQ(cost_unit_from_string(to_string(unit)), unit);
  EXPECT_THROW(cost_unit_from_string("s"), UsageError);
  EXPECT_EQ(cost_unit_of(AccuracyDrop{0.1, "", CostUnit::ms}), CostUnit::ms);
  EXPECT_EQ(cost_unit_of(FixedThreshold{0.1}), CostUnit::macs);
}

}  // namespace
}  // namespace offramp::policy
