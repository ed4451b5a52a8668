#include "policy/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "policy/binomial.h"
#include "policy/fixed_sequence.h"
#include "policy/predict_guarantee.h"

namespace offramp::policy {
namespace {

struct Logits {
  int exits, classes;
  std::vector<float> values;
  std::vector<std::int64_t> labels;
  LogitsView view() const { return {values, labels, exits, classes}; }
};

// Exits 1, 2 and 3 are correct with probability 0.6, 0.75 and 0.9, and their scores are higher
// where they are correct. Errors come from a common difficulty of the image, so exits err together.
Logits plausible(std::uint64_t seed, int images) {
  constexpr int kExits = 3, kClasses = 4;
  Logits result{kExits, kClasses, {}, {}};
  result.values.resize(static_cast<std::size_t>(kExits * images * kClasses));
  for (int i = 0; i < images; ++i) {
    core::KeyedRandom random(seed, static_cast<std::uint64_t>(i));
    const auto label = random.below(kClasses);
    result.labels.push_back(static_cast<std::int64_t>(label));
    const float difficulty = random.uniform();
    for (int k = 0; k < kExits; ++k) {
      const float skill = 0.6f + 0.15f * static_cast<float>(k);
      const float strength = 6 * (skill - difficulty) + random.uniform(-1, 1);
      auto* z = result.values.data() + (k * images + i) * kClasses;
      const auto wrong = (label + 1 + random.below(kClasses - 1)) % kClasses;
      z[label] = strength;
      z[wrong] += 0.1f;
    }
  }
  return result;
}

const std::vector<double> kCosts = {0.3, 0.6, 1.0};

double accuracy_of_last(const LogitsView& view) {
  double correct = 0;
  for (std::int64_t i = 0; i < view.images(); ++i)
    correct += argmax(view.at(view.exits - 1, i)) == view.labels[static_cast<std::size_t>(i)];
  return correct / static_cast<double>(view.images());
}

TEST(Calibration, MeetsAnAccuracyAimAlsoHeldOut) {
  const Logits tune = plausible(1, 1500);
  const LogitsView view = tune.view();
  const double least = accuracy_of_last(view) - 0.01;
  for (const Criterion criterion :
       {Criterion::confidence, Criterion::entropy, Criterion::margin, Criterion::patience}) {
    const Policy policy = fit_policy({criterion, Ensemble::off}, view);
    const ChosenThresholds chosen = choose_thresholds(policy, view, kCosts, AccuracyDrop{}, least);
    ASSERT_TRUE(chosen.met) << to_string(criterion);
    EXPECT_GE(chosen.accuracy, least - 1e-12);
    ASSERT_TRUE(chosen.held_out_accuracy.has_value());
    EXPECT_GE(*chosen.held_out_accuracy, least - 1e-12);
    // Patience saves nothing here: two exits that agree are not correct often enough.
    EXPECT_TRUE(chosen.relative_cost < 1 || criterion == Criterion::patience);
    // The reference applies the policy image by image.
    ExitState exit_state;
    double correct = 0, cost = 0;
    for (std::int64_t i = 0; i < view.images(); ++i) {
      int k = 0;
      while (!should_exit(chosen.policy, k, view.at(k, i), exit_state)) ++k;
      correct += exit_state.answer == view.labels[static_cast<std::size_t>(i)];
      cost += kCosts[static_cast<std::size_t>(k)];
    }
    EXPECT_NEAR(correct / 1500, chosen.accuracy, 1e-12);
    EXPECT_NEAR(cost / 1500, chosen.relative_cost, 1e-12);
  }
}

TEST(Calibration, SavesByPatienceIfTwoExitsThatAgreeAreCorrect) {
  // Exits 1 and 2 classify hard images wrongly, each with another class.
  constexpr std::size_t kImages = 1000, kClasses = 3;
  Logits tune{3, kClasses, std::vector<float>(3 * kImages * kClasses), {}};
  for (std::size_t i = 0; i < kImages; ++i) {
    core::KeyedRandom random(1, i);
    const auto label = random.below(kClasses);
    tune.labels.push_back(static_cast<std::int64_t>(label));
    const bool hard = random.uniform() < 0.3f;
    for (std::size_t k = 0; k < 3; ++k) {
      const auto answer = hard && k < 2 ? (label + 1 + k) % kClasses : label;
      tune.values[(k * kImages + i) * kClasses + answer] = 1;
    }
  }
  const Policy policy = fit_policy({Criterion::patience, Ensemble::off}, tune.view());
  const ChosenThresholds chosen =
      choose_thresholds(policy, tune.view(), kCosts, AccuracyDrop{}, 0.995);
  EXPECT_TRUE(chosen.met);
  EXPECT_EQ(chosen.policy.thresholds, (Thresholds{std::nullopt, 2.f}));
  EXPECT_LT(chosen.relative_cost, 0.75);
}

TEST(Calibration, MeetsAnAccuracyAimWithTwoExitsAndWithEnsembles) {
  const Logits three = plausible(15, 900);
  const std::size_t cells = three.values.size() / 3;
  const Logits two{2,
                   three.classes,
                   {three.values.begin() + static_cast<std::ptrdiff_t>(cells), three.values.end()},
                   three.labels};
  const std::vector<double> costs = {0.5, 1};
  for (const Ensemble ensemble : {Ensemble::off, Ensemble::mean, Ensemble::weighted})
    for (const Logits* tune : {&two, &three}) {
      const Policy policy = fit_policy({Criterion::confidence, ensemble}, tune->view());
      const auto& exit_costs = tune == &two ? costs : kCosts;
      // A threshold that no score reaches.
      const double least =
          choose_thresholds(policy, tune->view(), exit_costs, FixedThreshold{2}).accuracy - 0.02;
      const ChosenThresholds chosen =
          choose_thresholds(policy, tune->view(), exit_costs, AccuracyDrop{}, least);
      EXPECT_TRUE(chosen.met);
      EXPECT_GE(chosen.accuracy, least - 1e-12);
      EXPECT_LT(chosen.relative_cost, 0.98);
    }
  // Stopping early saves no cost here, so no accuracy may be lost.
  const Policy policy = fit_policy({}, two.view());
  const ChosenThresholds chosen =
      choose_thresholds(policy, two.view(), std::vector<double>{1, 1}, AccuracyDrop{},
                        accuracy_of_last(two.view()) - 0.02);
  EXPECT_EQ(chosen.policy.thresholds, Thresholds(1));
}

TEST(Calibration, StaysWithinABudget) {
  const Logits tune = plausible(2, 1000);
  const Policy policy = fit_policy({}, tune.view());
  const ChosenThresholds chosen = choose_thresholds(policy, tune.view(), kCosts, MaxCost{0.5});
  ASSERT_TRUE(chosen.met);
  EXPECT_LE(chosen.relative_cost, 0.5 + 1e-12);
  // No policy costs less than exit 1 alone.
  const ChosenThresholds impossible = choose_thresholds(policy, tune.view(), kCosts, MaxCost{0.2});
  EXPECT_FALSE(impossible.met);
  EXPECT_EQ(impossible.policy.thresholds, Thresholds(2));
  EXPECT_NEAR(impossible.relative_cost, 1, 1e-12);
}

// Where later steps help more than they harm, a generous budget is not spent on the last exit.
TEST(Calibration, TakesTheMostAccurateStepWithinABudget) {
  // Exit 2 classifies all images correctly, the last exit four of five.
  constexpr std::size_t kImages = 500, kClasses = 2;
  Logits tune{3, kClasses, std::vector<float>(3 * kImages * kClasses), {}};
  for (std::size_t i = 0; i < kImages; ++i) {
    tune.labels.push_back(static_cast<std::int64_t>(i % kClasses));
    for (std::size_t k = 0; k < 3; ++k) {
      const bool correct = k == 1 || (k == 2 ? i % 5 != 0 : i % 2 == 0);
      tune.values[(k * kImages + i) * kClasses + (correct ? i : i + 1) % kClasses] = 1 + k;
    }
  }
  const Policy policy = fit_policy({}, tune.view());
  const ChosenThresholds chosen = choose_thresholds(policy, tune.view(), kCosts, MaxCost{1.1});
  EXPECT_EQ(chosen.accuracy, 1);
  EXPECT_LT(chosen.relative_cost, 0.7);
  EXPECT_FALSE(chosen.policy.thresholds[0]);
  EXPECT_TRUE(choose_thresholds(policy, tune.view(), kCosts, MaxCost{kCosts[0]}).met);
}

// The mean cost on other images is not above the budget, over 40 draws of 60 tune images.
TEST(Calibration, EstimatesWhatABudgetGivesOnOtherImages) {
  constexpr int kTrials = 40;
  double held_out = 0, on_others = 0, cost = 0;
  for (std::uint64_t seed = 0; seed < kTrials; ++seed) {
    const Logits tune = plausible(100 + seed, 60), other = plausible(200 + seed, 2000);
    const Policy policy = fit_policy({}, tune.view());
    const ChosenThresholds chosen = choose_thresholds(policy, tune.view(), kCosts, MaxCost{0.5});
    ASSERT_TRUE(chosen.met && chosen.held_out_accuracy);
    EXPECT_LE(chosen.relative_cost, 0.5 + 1e-12);
    const ExitPredictions predictions =
        predict_exits(policy, other.view().logits, other.view().classes);
    const ThresholdOutcome outcome =
        evaluate_thresholds({predictions.exits, predictions.images, predictions.scores,
                             correct_table(predictions, other.view().labels), kCosts},
                            chosen.policy.thresholds);
    held_out += *chosen.held_out_accuracy / kTrials;
    on_others += static_cast<double>(outcome.good) / 2000 / kTrials;
    cost += outcome.total_cost / 2000 / kTrials;
  }
  EXPECT_LE(cost, 0.505);
  // Three standard errors of 40 means of 60 images. The step was chosen for the highest of these
  // accuracies, which makes it a little too high.
  EXPECT_NEAR(held_out, on_others, 0.024);
}

TEST(Calibration, SaysWhenAnAimCannotBeMet) {
  const Logits tune = plausible(3, 200);
  const Policy policy = fit_policy({}, tune.view());
  const ChosenThresholds chosen =
      choose_thresholds(policy, tune.view(), kCosts, AccuracyDrop{}, 1.01);
  EXPECT_FALSE(chosen.met);
  EXPECT_FALSE(chosen.held_out_accuracy);
  EXPECT_EQ(chosen.policy.thresholds, Thresholds(2));
}

TEST(Calibration, FitsATemperatureForEveryExit) {
  Logits tune = plausible(4, 2000);
  const Policy before = fit_policy({}, tune.view());
  // Doubling the logits of exit 2 doubles its temperature and changes no other.
  const std::size_t cells = tune.values.size() / 3;
  for (std::size_t at = cells; at < 2 * cells; ++at) tune.values[at] *= 2;
  const Policy after = fit_policy({}, tune.view());
  EXPECT_EQ(after.temperatures[0], before.temperatures[0]);
  EXPECT_NEAR(after.temperatures[1], 2 * before.temperatures[1], 1e-5);
  EXPECT_EQ(after.temperatures[2], before.temperatures[2]);
}

/// Returns the logits of calibration_golden.py, from the same formula in double.
Logits golden() {
  constexpr int kExits = 3, kImages = 150, kClasses = 10;
  Logits result{kExits, kClasses, {}, {}};
  for (int n = 0; n < kImages; ++n) result.labels.push_back((n * 31 + 7) % kClasses);
  for (int k = 0; k < kExits; ++k)
    for (int n = 0; n < kImages; ++n)
      for (int c = 0; c < kClasses; ++c) {
        const long noise = ((k + 1) * 7919L + (n + 1) * 104729L + (c + 1) * 1299709L +
                            (n + 3L) * (c + 5) * (k + 2) * 613) %
                           997;
        double value = static_cast<double>(noise) / 997.0 * 4.0 - 2.0;
        if (c == result.labels[static_cast<std::size_t>(n)] && n % 7 > 2 - k)
          value += (k + 1) * (k + 1);
        result.values.push_back(static_cast<float>(value));
      }
  return result;
}

// The golden values were printed by `python3 tests/policy/calibration_golden.py` (numpy 1.24),
// which uses bisection and tries every threshold.
TEST(Calibration, AgreesWithAnIndependentComputation) {
  const Logits tune = golden();
  const LogitsView view = tune.view();
  const Policy policy = fit_policy({Criterion::confidence, Ensemble::weighted}, view);
  EXPECT_NEAR(policy.temperatures[0], 3.26141346339, 1e-6);
  EXPECT_NEAR(policy.temperatures[1], 0.756414112936, 1e-7);
  EXPECT_NEAR(policy.temperatures[2], 1.20498332765, 1e-6);
  EXPECT_NEAR(policy.ensemble_weights[0], 0.001, 1e-6);
  EXPECT_NEAR(policy.ensemble_weights[1], 0.001, 1e-6);
  EXPECT_NEAR(policy.ensemble_weights[2], 0.998, 1e-6);

  const Policy alone = fit_policy({}, view);
  const ExitPredictions by_exits = predict_exits(alone, view.logits, view.classes);
  const auto correct = correct_table(by_exits, view.labels);
  const ExitTable table{by_exits.exits, by_exits.images, by_exits.scores, correct, kCosts};
  const auto each = search_each(table, {.least_good = 128});
  const auto shared = search_shared(table, {.least_good = 128});
  ASSERT_TRUE(each && shared);
  EXPECT_EQ(each->good, 128);
  EXPECT_NEAR(each->total_cost / 150, 0.68, 1e-9);
  EXPECT_NEAR(shared->total_cost / 150, 0.706666667, 1e-9);
  const auto within = search_each(table, {.most_cost = 0.5 * 150, .cheapest = false});
  EXPECT_EQ(within->good, 94);
  EXPECT_NEAR(within->total_cost / 150, 0.496, 1e-9);

  struct Expected {
    float threshold;
    double correct, harmed, cost;
  };
  for (const Expected& expected : {Expected{0.15f, 54, 78, 0.37}, Expected{0.3f, 117, 18, 0.624}}) {
    const ChosenThresholds chosen =
        choose_thresholds(alone, view, kCosts, FixedThreshold{expected.threshold});
    EXPECT_NEAR(chosen.accuracy, expected.correct / 150, 1e-12);
    EXPECT_NEAR(chosen.relative_cost, expected.cost, 1e-9);
    const ExitPredictions exit_predictions =
        predict_exits(chosen.policy, view.logits, view.classes);
    const auto harmless = harmless_table(
        exit_predictions, reference_answers(chosen.policy, view, HarmReference::last_exit),
        view.labels, false);
    const ThresholdOutcome outcome =
        evaluate_thresholds({exit_predictions.exits, exit_predictions.images,
                             exit_predictions.scores, harmless, kCosts},
                            chosen.policy.thresholds);
    EXPECT_EQ(static_cast<double>(150 - outcome.good), expected.harmed);
  }
}

/// Counts the images that thresholds harm, one by one.
std::int64_t count_harm(const Policy& policy, const LogitsView& view, bool against_last_exit) {
  std::int64_t harmed = 0;
  ExitState stopped, to_the_end;
  for (std::int64_t i = 0; i < view.images(); ++i) {
    int k = 0;
    while (!should_exit(policy, k, view.at(k, i), stopped)) ++k;
    for (int e = 0; e < view.exits; ++e) update_exit_state(policy, e, view.at(e, i), to_the_end);
    const int reference =
        against_last_exit ? argmax(view.at(view.exits - 1, i)) : to_the_end.answer;
    const std::int64_t label = view.labels[static_cast<std::size_t>(i)];
    harmed += reference == label && stopped.answer != label;
  }
  return harmed;
}

TEST(Guarantee, CountsTheHarmOfAnEnsembleAgainstTheReferenceThatTheAimNames) {
  const Logits tune = plausible(22, 800), certify = plausible(23, 1500);
  for (const Ensemble ensemble : {Ensemble::mean, Ensemble::geometric, Ensemble::weighted}) {
    SCOPED_TRACE(to_string(ensemble));
    const Policy policy = fit_policy({Criterion::confidence, ensemble}, tune.view());
    for (const HarmReference against : {HarmReference::last_exit, HarmReference::ensemble}) {
      const bool last = against == HarmReference::last_exit;
      const CertificationResult result =
          guarantee(policy, tune.view(), certify.view(), kCosts,
                    {.epsilon = 0.1, .delta = 0.1, .against = against});
      ASSERT_TRUE(result.holds());
      EXPECT_EQ(result.counted, count_harm(result.policy, certify.view(), last));
      EXPECT_EQ(certified_policy(result, {.epsilon = 0.1, .delta = 0.1, .against = against}, "f32",
                                 "here")
                    .guarantee->against,
                against);
      Policy never = result.policy;
      never.thresholds.assign(2, std::nullopt);
      EXPECT_EQ(result.counted_never_stopping, count_harm(never, certify.view(), last));
      // The mean of all exits differs from the last exit, so the two references differ too. The
      // fitted weights may give the last exit nearly everything.
      if (!last) {
        EXPECT_EQ(result.counted_never_stopping, 0);
      } else if (ensemble != Ensemble::weighted) {
        EXPECT_GT(result.counted_never_stopping, 0);
      }
    }
  }
  EXPECT_THROW(guarantee(fit_policy({}, tune.view()), tune.view(), certify.view(), kCosts,
                         {.epsilon = 0.1, .against = HarmReference::ensemble}),
               Error);
}

TEST(Guarantee, CertifiesNothingWhereTheEnsembleItselfDoesTooMuchHarm) {
  const Logits tune = plausible(22, 800), certify = plausible(23, 1500);
  const Policy policy = fit_policy({Criterion::confidence, Ensemble::mean}, tune.view());
  EXPECT_FALSE(
      guarantee(policy, tune.view(), certify.view(), kCosts, {.epsilon = 0.004, .delta = 0.1})
          .holds());
  EXPECT_TRUE(guarantee(policy, tune.view(), certify.view(), kCosts,
                        {.epsilon = 0.004, .delta = 0.1, .against = HarmReference::ensemble})
                  .holds());
}

TEST(Guarantee, ChoosesItsPathOnTuneAlone) {
  // For any certify images, the policy is a step of the path from the tune images.
  const Logits tune = plausible(20, 800);
  const Policy policy = fit_policy({}, tune.view());
  const ExitPredictions exit_predictions = predict_exits(policy, tune.values, tune.classes);
  const auto harmless = harmless_table(
      exit_predictions, reference_answers(policy, tune.view(), HarmReference::last_exit),
      tune.labels, false);
  const auto path = greedy_threshold_path(
      {exit_predictions.exits, exit_predictions.images, exit_predictions.scores, harmless, kCosts},
      kPathLevels);
  for (const double epsilon : {0.02, 0.05, 0.1, 0.3}) {
    Logits certify = plausible(21, 600);
    if (epsilon > 0.05)
      for (float& value : certify.values) value *= 2;
    const auto result =
        guarantee(policy, tune.view(), certify.view(), kCosts, {.epsilon = epsilon, .delta = 0.1});
    ASSERT_EQ(result.path_length, static_cast<std::int64_t>(path.size()));
    ASSERT_TRUE(result.step);
    EXPECT_EQ(result.policy.thresholds, path[*result.step]);
  }
}

TEST(PredictGuarantee, IsWhatCertifyingOnTheTuneImagesWouldGive) {
  for (std::uint64_t seed = 30; seed < 40; ++seed) {
    const Logits tune = plausible(seed, 700);
    const Policy policy = fit_policy({}, tune.view());
    for (const bool label_free : {false, true}) {
      const HarmGuarantee aim{.epsilon = 0.04, .delta = 0.1, .label_free = label_free};
      const ChosenThresholds foreseen = predict_guarantee(policy, tune.view(), kCosts, aim, 700);
      const auto drawn = guarantee(policy, tune.view(), tune.view(), kCosts, aim);
      EXPECT_EQ(foreseen.policy.thresholds, drawn.policy.thresholds);
      EXPECT_EQ(foreseen.met, *drawn.step > 0);
      EXPECT_FALSE(predict_guarantee(policy, tune.view(), kCosts, aim, 20).met);
      EXPECT_FALSE(predict_guarantee(policy, tune.view(), kCosts, aim, 0).met);
    }
  }
}

TEST(Guarantee, RefusesInvalidBoundsAndAttempts) {
  const Logits tune = plausible(22, 100);
  const Policy policy = fit_policy({}, tune.view());
  const auto refused = [&](HarmGuarantee aim, int attempt = 1) {
    return [&, aim, attempt] { guarantee(policy, tune.view(), tune.view(), kCosts, aim, attempt); };
  };
  using ::testing::ThrowsMessage;
  EXPECT_THAT(refused({.epsilon = 0, .delta = 0.1}),
              ThrowsMessage<Error>("epsilon: 0 is not in (0, 1)"));
  EXPECT_THAT(refused({.epsilon = 0.1, .delta = 1}),
              ThrowsMessage<Error>("delta: 1 is not in (0, 1)"));
  EXPECT_THAT(refused({.epsilon = 0.1, .delta = 0.1}, 0),
              ThrowsMessage<Error>("attempt: expected at least 1, got 0"));
  EXPECT_THAT(refused({.epsilon = 0.1, .delta = 0.1}, 400),
              ThrowsMessage<Error>("attempt 400: earlier attempts have used up delta 0.1; use new "
                                   "certify images"));
}

TEST(Guarantee, CertifiesOnOtherImagesThanItChoseOn) {
  const Logits tune = plausible(5, 1500), certify = plausible(6, 3000);
  const Policy policy = fit_policy({}, tune.view());
  const HarmGuarantee aim{.epsilon = 0.03, .delta = 0.05};
  const CertificationResult result = guarantee(policy, tune.view(), certify.view(), kCosts, aim);
  ASSERT_TRUE(result.step);
  EXPECT_GT(*result.step, 0u);
  EXPECT_LE(result.upper_bound, 0.03);
  EXPECT_DOUBLE_EQ(result.level, 0.98 * 0.045);
  EXPECT_EQ(result.images, 3000);
  // The count equals that of applying the policy image by image.
  const LogitsView view = certify.view();
  ExitState exit_state;
  std::int64_t harmed = 0;
  for (std::int64_t i = 0; i < view.images(); ++i) {
    int k = 0;
    while (!should_exit(result.policy, k, view.at(k, i), exit_state)) ++k;
    const auto label = view.labels[static_cast<std::size_t>(i)];
    harmed += exit_state.answer != label && argmax(view.at(2, i)) == label;
  }
  EXPECT_EQ(harmed, result.counted);
}

TEST(Guarantee, OfDisagreementNeedsNoLabels) {
  const Logits tune = plausible(7, 1500);
  Logits certify = plausible(8, 3000);
  const Policy policy = fit_policy({}, tune.view());
  const HarmGuarantee aim{.epsilon = 0.05, .delta = 0.05, .label_free = true};
  const auto result = guarantee(policy, tune.view(), certify.view(), kCosts, aim);
  certify.labels.assign(certify.labels.size(), -1);  // unknown labels
  const auto without = guarantee(policy, tune.view(), certify.view(), kCosts, aim);
  ASSERT_TRUE(result.step && without.step);
  EXPECT_EQ(result.policy, without.policy);
  EXPECT_EQ(result.counted, without.counted);
}

TEST(Guarantee, OfTooFewImagesCertifiesNothing) {
  const Logits tune = plausible(9, 500), certify = plausible(10, 50);
  const Policy policy = fit_policy({}, tune.view());
  const auto result =
      guarantee(policy, tune.view(), certify.view(), kCosts, {.epsilon = 0.01, .delta = 0.05});
  EXPECT_FALSE(result.step);
  EXPECT_EQ(result.images_needed, 311);  // 0.99^310 = 0.04435, 0.99^311 = 0.0439 ≤ 0.0441
  EXPECT_EQ(result.policy.thresholds, Thresholds(2));
}

TEST(Guarantee, OfALaterAttemptIsHarderToGet) {
  const Logits tune = plausible(11, 1500), certify = plausible(12, 3000);
  const Policy policy = fit_policy({}, tune.view());
  const HarmGuarantee aim{.epsilon = 0.02, .delta = 0.05};
  const auto first = guarantee(policy, tune.view(), certify.view(), kCosts, aim);
  const auto third = guarantee(policy, tune.view(), certify.view(), kCosts, aim, 3);
  ASSERT_TRUE(first.step && third.step);
  EXPECT_LT(*third.step, *first.step);
}

TEST(Guarantee, KeepsThePathOfCertifiedStepsAndTheFirstThatFailed) {
  const Logits tune = plausible(5, 1500), certify = plausible(6, 3000);
  const Policy policy = fit_policy({}, tune.view());
  const HarmGuarantee aim{.epsilon = 0.03, .delta = 0.05};
  const CertificationResult result = guarantee(policy, tune.view(), certify.view(), kCosts, aim);
  const CertifiedPath& path = result.path;
  ASSERT_GE(path.steps.size(), 3u);
  ASSERT_EQ(path.chosen + 2, path.steps.size());
  EXPECT_LE(path.chosen, kMaxPathSteps - 1);
  EXPECT_EQ(path.steps.front().thresholds, Thresholds(2));  // step 0 never stops early
  EXPECT_EQ(path.steps[path.chosen].thresholds, result.policy.thresholds);
  EXPECT_EQ(path.steps[path.chosen].counted, result.counted);
  // The figures of each step match its thresholds, and every step but the last passes its test.
  const ExitPredictions on_tune = predict_exits(policy, tune.values, tune.classes);
  const ExitPredictions on_certify = predict_exits(policy, certify.values, certify.classes);
  const auto correct = correct_table(on_tune, tune.labels);
  const auto harmless = harmless_table(
      on_certify, reference_answers(policy, certify.view(), HarmReference::last_exit),
      certify.labels, false);
  const auto agrees = harmless_table(
      on_certify, reference_answers(policy, certify.view(), HarmReference::last_exit),
      certify.labels, true);
  for (std::size_t m = 0; m < path.steps.size(); ++m) {
    const PathStep& step = path.steps[m];
    const ThresholdOutcome chosen =
        evaluate_thresholds({3, 1500, on_tune.scores, correct, kCosts}, step.thresholds);
    EXPECT_DOUBLE_EQ(step.accuracy, static_cast<double>(chosen.good) / 1500);
    EXPECT_DOUBLE_EQ(step.relative_cost, chosen.total_cost / 1500);
    const ThresholdOutcome harm =
        evaluate_thresholds({3, 3000, on_certify.scores, harmless, kCosts}, step.thresholds);
    EXPECT_EQ(step.counted, 3000 - harm.good);
    const ThresholdOutcome same =
        evaluate_thresholds({3, 3000, on_certify.scores, agrees, kCosts}, step.thresholds);
    EXPECT_EQ(step.disagreed, 3000 - same.good);
    EXPECT_EQ(binomial_cdf(step.counted, 3000, aim.epsilon) <= result.level, m <= path.chosen);
  }
}

TEST(Guarantee, BoundsTheDisagreementOfAllStepsInTheSameAttempt) {
  const Logits tune = plausible(5, 1500), certify = plausible(6, 3000);
  const Policy policy = fit_policy({}, tune.view());
  const HarmGuarantee aim{.epsilon = 0.03, .delta = 0.05};
  const CertificationResult result = guarantee(policy, tune.view(), certify.view(), kCosts, aim, 2);
  ASSERT_TRUE(result.disagreement);
  EXPECT_NEAR(result.level + static_cast<double>(result.path_length) * result.disagreement->level,
              level_of_attempt(0.05, 2), 1e-15);
  const ChosenPolicy chosen = certified_policy(result, aim, "f32", "kernels");
  check(chosen, 3);
  const std::vector<double> bounds = disagreement_bounds(chosen);
  ASSERT_EQ(bounds.size(), result.path.chosen + 1);
  EXPECT_DOUBLE_EQ(bounds.back(), *disagreement_bound(*chosen.guarantee));
  // Bounds of other images' counts: the rates on many images are below them.
  const Logits many = plausible(7, 50'000);
  const ExitPredictions on_many = predict_exits(policy, many.values, many.classes);
  const auto agrees = harmless_table(
      on_many, reference_answers(policy, many.view(), HarmReference::last_exit), many.labels, true);
  for (std::size_t m = 0; m < bounds.size(); ++m) {
    const ThresholdOutcome same = evaluate_thresholds({3, 50'000, on_many.scores, agrees, kCosts},
                                                      result.path.steps[m].thresholds);
    EXPECT_LT(1 - static_cast<double>(same.good) / 50'000, bounds[m]) << m;
  }
  // Without labels the tests themselves bound it.
  const HarmGuarantee label_free{.epsilon = 0.05, .delta = 0.05, .label_free = true};
  const CertificationResult of_disagreement =
      guarantee(policy, tune.view(), certify.view(), kCosts, label_free);
  EXPECT_FALSE(of_disagreement.disagreement);
  const ChosenPolicy other = certified_policy(of_disagreement, label_free, "f32", "kernels");
  EXPECT_EQ(disagreement_bound(*other.guarantee), 0.05);
  EXPECT_EQ(disagreement_bounds(other), std::vector<double>(other.path->chosen + 1, 0.05));
}

TEST(Guarantee, ThinsALongPathToABoundedNumberOfSteps) {
  // With a large epsilon the whole path passes: about 200 steps for each of two early exits.
  const Logits tune = plausible(5, 1500), certify = plausible(6, 3000);
  const Policy policy = fit_policy({}, tune.view());
  const HarmGuarantee aim{.epsilon = 0.9, .delta = 0.05};
  const CertificationResult result = guarantee(policy, tune.view(), certify.view(), kCosts, aim);
  ASSERT_EQ(static_cast<std::int64_t>(*result.step) + 1, result.path_length);
  ASSERT_GT(*result.step, kMaxPathSteps);
  EXPECT_EQ(result.path.steps.size(), kMaxPathSteps);
  EXPECT_EQ(result.path.chosen + 1, kMaxPathSteps);  // no step failed
  EXPECT_EQ(result.path.steps.back().thresholds, result.policy.thresholds);
  ChosenPolicy chosen = certified_policy(result, aim, "f32", "kernels");
  chosen.seen = TuneExitShares{1500, {0.5, 0.25, 0.25}};
  check(chosen, 3);
}

TEST(Guarantee, IsStoredWithItsAimAndPathOnlyWhereItHolds) {
  const Logits tune = plausible(5, 1500), certify = plausible(6, 3000);
  const Policy policy = fit_policy({}, tune.view());
  const HarmGuarantee aim{.epsilon = 0.03, .delta = 0.05};
  const CertificationResult result = guarantee(policy, tune.view(), certify.view(), kCosts, aim, 2);
  const ChosenPolicy chosen = certified_policy(result, aim, "int8", "kernels");
  EXPECT_EQ(chosen.policy, result.policy);
  EXPECT_EQ(chosen.aim, Aim(aim));
  Guarantee given{
      "harm", 0.03,     0.05, level_of_tests(aim, 2), 3000, result.counted, result.upper_bound,
      "int8", "kernels"};
  given.disagreement = result.disagreement;
  EXPECT_EQ(chosen.guarantee, given);
  EXPECT_EQ(chosen.path, result.path);
  const ChosenPolicy none =
      certified_policy(prepare_certification(policy, aim, 20), aim, "int8", "kernels");
  EXPECT_EQ(none.policy.thresholds, Thresholds(2));
  EXPECT_EQ(none.aim, Aim(aim));
  EXPECT_FALSE(none.guarantee || none.path);
}

TEST(Calibration, AcceptsLogitsThatAreNaN) {
  Logits tune = plausible(13, 300);
  for (std::size_t at = 0; at < 40; ++at) tune.values[at] = std::numeric_limits<float>::quiet_NaN();
  const Policy policy = fit_policy({}, tune.view());
  const ChosenThresholds chosen =
      choose_thresholds(policy, tune.view(), kCosts, AccuracyDrop{}, 0.5);
  EXPECT_TRUE(chosen.met);
  for (const auto& threshold : chosen.policy.thresholds)
    EXPECT_TRUE(!threshold || std::isfinite(*threshold));
}

TEST(Calibration, RefusesWhatDoesNotFit) {
  const Logits tune = plausible(14, 20);
  const Policy policy = fit_policy({}, tune.view());
  EXPECT_THROW(choose_thresholds(policy, tune.view(), std::vector<double>{1.0}, FixedThreshold{1}),
               Error);
  EXPECT_THROW(fit_policy({}, LogitsView{{}, {}, 3, 4}), Error);
}

}  // namespace
}  // namespace offramp::policy
