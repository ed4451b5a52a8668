#include "serve/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/file.h"
#include "model/model_file.h"
#include "policy/binomial.h"
#include "runtime/kernels_name.h"
#include "tests/api/example_model.h"
#include "tests/support/graphs.h"

namespace offramp::serve {
namespace {

using testing::HasSubstr;
using enum Watch::AuditResult;

/// A model whose policy has three certified steps, each with a bound on disagreement of 0.69 %.
class WatchTest : public testing::Test {
 protected:
  WatchTest() {
    file_ = test::example_model(small_resnet());
    policy::ChosenPolicy chosen;
    chosen.policy = policy::never_stop(3);
    chosen.policy.thresholds = {0.5f, 0.5f};
    chosen.guarantee =
        policy::Guarantee{"harm", 0.1, 0.05, 0.04, 1000, 10, 0.05, "f32", runtime::kernels_name()};
    chosen.guarantee->disagreement =
        policy::DisagreementBound{1e-3, 0, policy::clopper_pearson_upper(0, 1000, 1e-3)};
    const policy::PathStep never{.thresholds = policy::Thresholds(2), .disagreed = 0};
    chosen.path = policy::CertifiedPath{
        .steps = {never, never, {.thresholds = {0.5f, 0.5f}, .counted = 10, .disagreed = 0}},
        .chosen = 2};
    file_.policy = chosen;
  }
  Model load() {
    model::save_model(folder_.path() / "m.safetensors", file_);
    return Model::load(folder_.path() / "m.safetensors", {.precision = "f32", .threads = 1});
  }
  Watch watch_with(OnAlarm on_alarm) {
    const Model model = load();
    return {model, model.guarantee(), {.audit_share = 1, .on_alarm = on_alarm}, 1};
  }

  core::TemporaryFolder folder_;
  model::ModelFile file_;
};

/// Adds results under the rule in use. @return the alarms
int add(Watch& watch, int count, Watch::AuditResult result) {
  int alarms = 0;
  for (int i = 0; i < count; ++i) alarms += watch.add(result, watch.generation());
  return alarms;
}

TEST_F(WatchTest, IsOffWithABoundThatNoRateCanBeComparedWith) {
  const Model model = load();
  Guarantee guarantee = *model.guarantee();
  for (const double bound : {0., 1., 1.2, std::numeric_limits<double>::quiet_NaN()}) {
    guarantee.disagreement = bound;
    Watch watch(model, guarantee, {.audit_share = 1}, 1);
    EXPECT_EQ(watch.stats().state, WatchStats::State::off);
    EXPECT_THAT(watch.stats().why, HasSubstr("expected one between 0 and 1"));
    EXPECT_FALSE(watch.toss());
    EXPECT_EQ(add(watch, 100, disagrees), 0);
  }
}

TEST_F(WatchTest, TellsWhatABoundCosts) {
  const Model model = load();
  Guarantee guarantee = *model.guarantee();
  guarantee.disagreement.reset();
  const Watch watch(model, guarantee, {.audit_share = 1}, 1);
  EXPECT_THAT(watch.stats().why, HasSubstr("counts as another attempt"));
}

TEST_F(WatchTest, DoesNotAnswerDroppedAuditsWithAnotherRule) {
  Watch watch = watch_with(OnAlarm::last);
  add(watch, 5, agrees);
  EXPECT_EQ(add(watch, 1000, dropped), 1);
  EXPECT_EQ(watch.stats().state, WatchStats::State::alarm);
  EXPECT_THAT(watch.stats().why,
              HasSubstr("0 of 5 audited images were classified differently, and "));
  EXPECT_THAT(watch.stats().why, HasSubstr("audits could not be finished"));
  EXPECT_EQ(watch.stop(), Stop::by_policy());
  // What comes then without them is not hidden.
  EXPECT_EQ(add(watch, 100, disagrees), 1);
  EXPECT_EQ(watch.stop(), Stop::never());
  EXPECT_EQ(watch.stats().alarms, 2);
  EXPECT_EQ(watch.stats().dropped, 1000);
}

TEST_F(WatchTest, GoesToAMoreCautiousStepOnlyIfThatHasABound) {
  Watch certified = watch_with(OnAlarm::cautious);
  add(certified, 5, disagrees);
  EXPECT_EQ(certified.stop(), Stop::at_step(1));
  EXPECT_EQ(certified.stats().step, 1);
  // The audits after the alarm count for the new step.
  EXPECT_EQ(certified.stats().state, WatchStats::State::holding);
  EXPECT_EQ(add(certified, 100, dropped), 1);
  EXPECT_EQ(certified.stats().step, 1);
  // Other code was compared with the certified one for the policy alone.
  file_.policy->guarantee->kernels = "elsewhere";
  file_.policy->verified = {{"f32", runtime::kernels_name(), 1000, 0, 0.01, 0.0046}};
  Watch verified = watch_with(OnAlarm::cautious);
  EXPECT_NEAR(verified.stats().bound, 0.0069 + 0.0046, 1e-4);
  add(verified, 100, disagrees);
  EXPECT_EQ(verified.stop(), Stop::never());
  EXPECT_FALSE(verified.stats().step);
}

}  // namespace
}  // namespace offramp::serve
