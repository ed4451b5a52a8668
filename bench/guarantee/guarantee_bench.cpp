// Tests the guarantee. It draws tune and certify images many times from populations whose rates are
// known, certifies as `offramp calibrate --guarantee` does, and counts how often the true rate of
// the certified policy is above epsilon. It ends with status 1 if a requirement fails:
//
// - no case is violated in more than delta of the draws (99 % lower Clopper-Pearson bound);
// - the boundary case is violated in 0.3 delta to delta of the draws, and as often as the binomial
//   distribution predicts; this shows that the test can detect violations;
// - the uncorrected empirical choice is violated in more than delta of the draws (99 % lower
// bound).
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/guarantee/trials.h"
#include "core/error.h"
#include "eval/logits_file.h"
#include "policy/binomial.h"

namespace {

using namespace offramp;

struct Flags {
  std::string logits;
  std::vector<double> costs;
  int draws = 1000;
  std::uint64_t seed = 1;
};

struct Case {
  std::string name;
  trials::Population population;
  trials::TrialSettings settings;
  int draws;
  double expected = 0;  ///< rate of violations if it is known, otherwise 0
  bool must_be_violated =
      false;  ///< it is required that the uncorrected choice is violated too often
};

struct Count {
  std::int64_t violations = 0;
  double saved = 0;  ///< mean share of the cost that is saved
  double low = 0, high = 0;
};

Count count(const std::vector<trials::Trial>& all, trials::Result trials::Trial::*choice) {
  Count counted;
  for (const trials::Trial& trial : all) {
    counted.violations += (trial.*choice).violated;
    counted.saved += (trial.*choice).saved / static_cast<double>(all.size());
  }
  const auto draws = static_cast<std::int64_t>(all.size());
  counted.low = policy::clopper_pearson_lower(counted.violations, draws, 0.01);
  counted.high = policy::clopper_pearson_upper(counted.violations, draws, 0.01);
  return counted;
}

constexpr policy::PolicyOptions kConfidence{policy::Criterion::confidence, policy::Ensemble::off};

std::vector<Case> cases(const Flags& flags) {
  const auto settings = [](std::int64_t tune, std::int64_t certify, double epsilon, double delta) {
    return trials::TrialSettings{tune, certify, epsilon, delta, false, {kConfidence}};
  };
  std::vector<Case> all;
  const auto add = [&](std::string name, trials::Population population,
                       trials::TrialSettings what) {
    all.push_back({std::move(name), std::move(population), std::move(what), flags.draws});
    return &all.back();
  };
  const trials::Population model = trials::correlated_exits();
  add("model, harm", model, settings(2000, 4000, 0.01, 0.05))->must_be_violated = true;
  add("model, harm, larger epsilon", model, settings(2000, 4000, 0.03, 0.05))->must_be_violated =
      true;
  add("model, harm, few images", model, settings(500, 500, 0.02, 0.1))->must_be_violated = true;
  trials::TrialSettings other = settings(2000, 4000, 0.05, 0.05);
  other.label_free = true;
  add("model, label-free", model, other)->must_be_violated = true;
  other = settings(1000, 2000, 0.02, 0.1);
  other.shapes = {{policy::Criterion::margin, policy::Ensemble::mean}};
  add("model, margin, mean ensemble", model, other);
  other.against = policy::HarmReference::ensemble;
  add("model, margin, mean ensemble, against it", model, other)->must_be_violated = true;
  other.against = policy::HarmReference::last_exit;
  other.shapes = {kConfidence,
                  {policy::Criterion::margin, policy::Ensemble::off},
                  {policy::Criterion::entropy, policy::Ensemble::geometric}};
  add("model, any of 3 certificates", model, other)->must_be_violated = true;

  constexpr double kEpsilon = 0.02, kDelta = 0.1, kRate = kEpsilon * (1 + 1e-6);
  const auto boundary = trials::boundary_images(kRate, kEpsilon, kDelta, 1500, 2000);
  Case* edge =
      add(fmt::format("boundary, {:.2f} expected", 100 * boundary.violations),
          trials::two_score_population(kRate), settings(400, boundary.images, kEpsilon, kDelta));
  edge->expected = boundary.violations;
  edge->draws = std::max(10 * flags.draws, 10000);

  if (!flags.logits.empty()) {
    const eval::SavedLogits saved = eval::load_logits(flags.logits);
    std::vector<double> costs = flags.costs;
    if (costs.empty())
      for (int k = 1; k <= saved.exits; ++k) costs.push_back(static_cast<double>(k) / saved.exits);
    const trials::Population pool = trials::population_of_logits(saved.view(), costs);
    add("saved logits, harm", pool, settings(2000, 4000, 0.01, 0.05))->must_be_violated = true;
    other = settings(2000, 4000, 0.02, 0.05);
    other.label_free = true;
    add("saved logits, label-free", pool, other)->must_be_violated = true;
    other = settings(2000, 4000, 0.01, 0.05);
    other.shapes = {{policy::Criterion::entropy, policy::Ensemble::geometric}};
    add("saved logits, geometric ensemble", pool, other);
    other.against = policy::HarmReference::ensemble;
    add("saved logits, geometric ensemble, against it", pool, other)->must_be_violated = true;
  }
  return all;
}

/// Runs a case and prints its line. @return a message for each requirement that fails
std::vector<std::string> run(const Case& one, std::uint64_t seed) {
  const auto all = trials::run_trials(one.population, one.settings, seed, one.draws);
  const Count ours = count(all, &trials::Trial::ours);
  const Count hoeffding = count(all, &trials::Trial::hoeffding);
  const Count empirical = count(all, &trials::Trial::empirical);
  const auto percent_of = [&](const Count& counted) {
    return 100 * static_cast<double>(counted.violations) / one.draws;
  };
  fmt::print(
      "{:<33}{:>6}{:>12}{:>8.2f}{:>6.0f}{:>9.2f}{:>16}{:>8.1f}{:>10.2f}{:>8.1f}{:>10.2f}{:>8.1f}\n",
      one.name, one.draws,
      fmt::format("{}+{}", one.settings.tune_images, one.settings.certify_images),
      100 * one.settings.epsilon, 100 * one.settings.delta, percent_of(ours),
      fmt::format("[{:.2f}, {:.2f}]", 100 * ours.low, 100 * ours.high), 100 * ours.saved,
      percent_of(hoeffding), 100 * hoeffding.saved, percent_of(empirical), 100 * empirical.saved);
  std::fflush(stdout);

  std::vector<std::string> failures;
  if (ours.low > one.settings.delta)
    failures.push_back(fmt::format("{}: violated in more than delta of the draws", one.name));
  if (one.must_be_violated && !(empirical.low > one.settings.delta))
    failures.push_back(fmt::format(
        "{}: the uncorrected choice is not violated in more than delta of the draws", one.name));
  if (one.expected > 0) {
    const double rate = static_cast<double>(ours.violations) / one.draws;
    if (rate < 0.3 * one.settings.delta || rate > one.settings.delta)
      failures.push_back(
          fmt::format("{}: violated in {:.2f} % of the draws, not in 0.3 delta to "
                      "delta of them",
                      one.name, 100 * rate));
    // Each side is tested at 99.9 %, so one seed in 500 fails although nothing is wrong.
    if (one.expected < policy::clopper_pearson_lower(ours.violations, one.draws, 0.001) ||
        one.expected > policy::clopper_pearson_upper(ours.violations, one.draws, 0.001))
      failures.push_back(fmt::format("{}: expected {:.2f} % violations, outside the interval",
                                     one.name, 100 * one.expected));
  }
  return failures;
}

int run_all(const Flags& flags) {
  const std::vector<Case> all = cases(flags);
  fmt::print(
      "{} draws per case, seed {}. All figures in %; [ ] are the lower and upper 99 % bounds.\n"
      "{:<33}{:>6}{:>12}{:>8}{:>6}{:>33}{:>18}{:>18}\n"
      "{:<33}{:>6}{:>12}{:>8}{:>6}{:>9}{:>16}{:>8}{:>10}{:>8}{:>10}{:>8}\n",
      flags.draws, flags.seed, "", "", "images", "", "", "guarantee()", "Hoeffding", "uncorrected",
      "case", "draws", "tune+cert", "epsilon", "delta", "violated", "", "saved", "violated",
      "saved", "violated", "saved");
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::string> failures;
  for (const Case& one : all)
    for (std::string& failure : run(one, flags.seed)) failures.push_back(std::move(failure));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  fmt::print("{:.0f} s. {}\n", seconds.count(),
             failures.empty() ? "Every requirement holds." : "FAILED:");
  for (const std::string& failure : failures) fmt::print("  {}\n", failure);
  return failures.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Tests the guarantee against populations whose rates are known.");
  app.add_option("--logits", flags.logits,
                 "Saved logits to draw from with replacement (offramp test --save-logits)");
  app.add_option("--costs", flags.costs, "Relative cost of each exit of --logits; by default k / K")
      ->delimiter(',');
  app.add_option("--draws", flags.draws,
                 "Draws per case; the boundary case has ten times as many, at least 10,000")
      ->check(CLI::Range(100, 1000000))
      ->capture_default_str();
  app.add_option("--seed", flags.seed, "Seed of the draws")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return run_all(flags);
  } catch (const Error& error) {
    fmt::print(stderr, "guarantee_bench: {}\n", error.what());
    return 1;
  }
}
