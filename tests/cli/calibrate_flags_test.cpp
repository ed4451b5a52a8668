#include "cli/calibrate_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "core/error.h"

namespace offramp::cli {
namespace {

CalibrateFlags with(const std::function<void(CalibrateFlags&)>& edit) {
  CalibrateFlags flags;
  edit(flags);
  return flags;
}

TEST(CalibrateFlags, AreRefusedByNameIfInvalid) {
  const std::string one_aim =
      "calibrate: give one of --threshold, --max-accuracy-drop, --max-cost and --guarantee, got ";
  const std::string drop =
      "--max-accuracy-drop: expected a fraction of 1 (0.005 is half a point), ";
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const struct {
    CalibrateFlags flags;
    std::string message;
  } cases[] = {
      {with([](auto&) {}), one_aim + "none"},
      {with([&](auto& f) {
         f.threshold = 0.5;
         f.max_cost = 1;
       }),
       one_aim + "2"},
      {with([&](auto& f) { f.threshold = 1.5; }),
       "--threshold: expected a score from 0 to 1, got 1.5"},
      {with([&](auto& f) { f.threshold = -0.1; }),
       "--threshold: expected a score from 0 to 1, got -0.1"},
      {with([&](auto& f) { f.threshold = nan; }),
       "--threshold: expected a score from 0 to 1, got nan"},
      {with([&](auto& f) {
         f.criterion = "patience";
         f.threshold = 1.5;
       }),
       "--threshold: expected a number of exits that agree, from 1, got 1.5"},
      {with([&](auto& f) {
         f.criterion = "patience";
         f.threshold = 0;
       }),
       "--threshold: expected a number of exits that agree, from 1, got 0"},
      {with([&](auto& f) { f.max_accuracy_drop = 5; }), drop + "got 5"},
      {with([&](auto& f) { f.max_accuracy_drop = -0.01; }), drop + "got -0.01"},
      {with([&](auto& f) { f.max_cost = 0; }),
       "--max-cost: expected a relative cost above 0, got 0"},
      {with([&](auto& f) { f.max_cost = infinity; }),
       "--max-cost: expected a relative cost above 0, got inf"},
      {with([&](auto& f) { f.guarantee = 1; }),
       "--guarantee: expected a rate between 0 and 1, got 1"},
      {with([&](auto& f) { f.guarantee = 0; }),
       "--guarantee: expected a rate between 0 and 1, got 0"},
      {with([&](auto& f) {
         f.guarantee = 0.01;
         f.delta = 0;
       }),
       "--delta: expected a probability between 0 and 1, got 0"},
      {with([&](auto& f) {
         f.max_cost = 1;
         f.delta = 0.1;
       }),
       "--delta: needs --guarantee"},
      {with([&](auto& f) {
         f.max_cost = 1;
         f.label_free = true;
       }),
       "--label-free: needs --guarantee"},
      {with([&](auto& f) {
         f.max_cost = 1;
         f.per_class = true;
       }),
       "--per-class: needs --guarantee"},
      {with([&](auto& f) {
         f.reference = "other";
         f.max_cost = 1;
       }),
       "--reference: needs --max-accuracy-drop"},
      {with([&](auto& f) {
         f.criterion = "margins";
         f.max_cost = 1;
       }),
       R"(unknown criterion "margins"; did you mean "margin"?)"},
      {with([&](auto& f) {
         f.ensemble = "all";
         f.max_cost = 1;
       }),
       R"(unknown ensemble "all"; known: off, mean, geometric, weighted)"},
  };
  for (const auto& one : cases)
    EXPECT_THAT([&] { calibrate_options(one.flags); },
                testing::ThrowsMessage<UsageError>(one.message));
}

TEST(CalibrateFlags, BecomeATypedAim) {
  EXPECT_EQ(calibrate_options(with([&](auto& f) { f.threshold = 0.9; })).aim,
            policy::Aim(policy::FixedThreshold{0.9}));
  const workflow::CalibrateOptions drop = calibrate_options(with([&](auto& f) {
    f.reference = "runs/plain.safetensors";
    f.max_accuracy_drop = 0.005;
  }));
  EXPECT_EQ(drop.aim, policy::Aim(policy::AccuracyDrop{0.005}));
  EXPECT_EQ(drop.reference, "runs/plain.safetensors");
  EXPECT_EQ(calibrate_options(with([&](auto& f) {
              f.cost = "ms";
              f.max_cost = 0.5;
            })).aim,
            policy::Aim(policy::MaxCost{0.5, policy::CostUnit::ms}));
  EXPECT_EQ(calibrate_options(with([&](auto& f) { f.guarantee = 0.01; })).aim,
            policy::Aim(policy::HarmGuarantee{0.01}));
  EXPECT_EQ(calibrate_options(with([&](auto& f) {
              f.guarantee = 0.01;
              f.delta = 0.1;
              f.label_free = true;
            })).aim,
            policy::Aim(policy::HarmGuarantee{0.01, 0.1, true}));
  EXPECT_EQ(calibrate_options(with([&](auto& f) {
              f.guarantee = 0.01;
              f.ensemble = "mean";
              f.against = "ensemble";
            })).aim,
            policy::Aim(policy::HarmGuarantee{.epsilon = 0.01,
                                              .against = policy::HarmReference::ensemble}));
}

}  // namespace
}  // namespace offramp::cli
