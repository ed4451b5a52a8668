// A small version of bench/guarantee, with the same random draws and the same library functions.
#include "bench/guarantee/trials.h"

#include <gtest/gtest.h>

#include "policy/binomial.h"

namespace offramp::trials {
namespace {

int violations(const std::vector<Trial>& all, Result Trial::*choice) {
  int count = 0;
  for (const Trial& trial : all) count += (trial.*choice).violated;
  return count;
}

double saved(const std::vector<Trial>& all, Result Trial::*choice) {
  double sum = 0;
  for (const Trial& trial : all) sum += (trial.*choice).saved;
  return sum / static_cast<double>(all.size());
}

constexpr policy::PolicyOptions kConfidence{policy::Criterion::confidence, policy::Ensemble::off};

TEST(Trials, AreNotViolatedMoreOftenThanDelta) {
  constexpr int kDraws = 300;
  TrialSettings settings{300, 600, 0.03, 0.1, false, {kConfidence}};
  for (const bool label_free : {false, true}) {
    settings.label_free = label_free;
    settings.epsilon = label_free ? 0.1 : 0.03;
    const auto all = run_trials(correlated_exits(), settings, 1, kDraws);
    EXPECT_LE(policy::clopper_pearson_lower(violations(all, &Trial::ours), kDraws, 0.001),
              settings.delta);
    EXPECT_GT(policy::clopper_pearson_lower(violations(all, &Trial::empirical), kDraws, 0.001),
              settings.delta);
    EXPECT_GT(saved(all, &Trial::ours), saved(all, &Trial::hoeffding));
    EXPECT_LT(saved(all, &Trial::ours), saved(all, &Trial::empirical));
  }
}

TEST(Trials, AtTheBoundaryAreViolatedAsOftenAsTheBinomialSays) {
  constexpr int kDraws = 600;
  constexpr double kEpsilon = 0.03, kDelta = 0.1, kRate = kEpsilon * (1 + 1e-6);
  const BoundaryImages boundary = boundary_images(kRate, kEpsilon, kDelta, 300, 500);
  EXPECT_GT(boundary.violations, 0.8 * kDelta);
  EXPECT_LE(boundary.violations, kDelta);
  const TrialSettings settings{200, boundary.images, kEpsilon, kDelta, false, {kConfidence}};
  const auto all = run_trials(two_score_population(kRate), settings, 2, kDraws);
  const int count = violations(all, &Trial::ours);
  EXPECT_LE(policy::clopper_pearson_lower(count, kDraws, 0.001), boundary.violations);
  EXPECT_GE(policy::clopper_pearson_upper(count, kDraws, 0.001), boundary.violations);
}

// Three certificates of different policies from the same images share one delta.
TEST(Trials, OfSeveralCertificatesAreNotViolatedMoreOftenThanDelta) {
  constexpr int kDraws = 200;
  const TrialSettings settings{200,
                               500,
                               0.04,
                               0.1,
                               false,
                               {kConfidence,
                                {policy::Criterion::margin, policy::Ensemble::mean},
                                {policy::Criterion::entropy, policy::Ensemble::geometric}}};
  const auto all = run_trials(correlated_exits(), settings, 3, kDraws);
  EXPECT_LE(policy::clopper_pearson_lower(violations(all, &Trial::ours), kDraws, 0.001),
            settings.delta);
}

TEST(Trials, DependOnTheirNumberAlone) {
  const TrialSettings settings{200, 300, 0.05, 0.1, false, {kConfidence}};
  const Population population = correlated_exits();
  const auto all = run_trials(population, settings, 4, 8);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Trial again = run_trial(population, settings, 4, i);
    EXPECT_EQ(again.ours.saved, all[i].ours.saved);
    EXPECT_EQ(again.empirical.violated, all[i].empirical.violated);
  }
}

// The standard error of the mean drop over 100 draws is 0.06 percentage points for our method.
TEST(Trials, ChosenForADropLoseNoMoreOnNewImages) {
  constexpr int kDraws = 100;
  constexpr double kDrop = 0.01;
  double ours = 0, fitted = 0, searched = 0, cost = 0;
  for (const DropTrial& trial : run_drop_trials(independent_exits(), 1000, kDrop, 6, kDraws)) {
    ours += trial.ours.drop / kDraws;
    cost += trial.ours.cost / kDraws;
    fitted += trial.fitted.drop / kDraws;
    searched += trial.searched.drop / kDraws;
  }
  EXPECT_LT(ours, kDrop + 0.0025);
  EXPECT_GT(ours, kDrop / 2);  // the allowed drop is mostly used
  EXPECT_LT(cost, 0.85);
  // The test has power only if the other methods fail: the same path without cross-validation, and
  // a search over all thresholds.
  EXPECT_GT(fitted, ours + 0.001);
  EXPECT_GT(searched, 1.5 * kDrop);
}

}  // namespace
}  // namespace offramp::trials
