// Measures the accuracy drop on new images after `offramp calibrate --max-accuracy-drop`. It draws
// tune images many times from a population whose rates are known, chooses thresholds on them, and
// prints the true drop next to the requested one. For comparison it prints the same for the
// cheapest of all thresholds within the drop on tune, and for `calibrate`'s path without
// cross-validation.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/guarantee/trials.h"
#include "core/error.h"
#include "eval/logits_file.h"

namespace {

using namespace offramp;

struct Mean {
  double drop = 0, deviation = 0, cost = 0;
};

Mean mean_of(const std::vector<trials::DropTrial>& all,
             trials::DropOutcome trials::DropTrial::*choice) {
  const auto draws = static_cast<double>(all.size());
  Mean mean;
  double squares = 0;
  for (const trials::DropTrial& trial : all) {
    const trials::DropOutcome& outcome = trial.*choice;
    mean.drop += outcome.drop / draws;
    mean.cost += outcome.cost / draws;
    squares += outcome.drop * outcome.drop / draws;
  }
  mean.deviation = std::sqrt(std::max(0.0, squares - mean.drop * mean.drop));
  return mean;
}

void print_table(const std::string& name, const trials::Population& population, int images,
                 std::uint64_t seed, int draws) {
  fmt::print("{}\n{:>8}{:>24}{:>26}{:>26}\n{:>8}", name, "asked, %", "calibrate: drop, %",
             "path, not cross-validated", "cheapest on tune", "");
  for (int column = 0; column < 3; ++column)
    fmt::print("{:>{}}{:>8}{:>8}", "mean", column == 0 ? 8 : 10, "sd", "cost");
  fmt::print("\n");
  for (const double drop : {0.0, 0.001, 0.005, 0.01, 0.02}) {
    const auto all = trials::run_drop_trials(population, images, drop, seed, draws);
    fmt::print("{:>8.1f}", 100 * drop);
    for (const auto choice :
         {&trials::DropTrial::ours, &trials::DropTrial::fitted, &trials::DropTrial::searched}) {
      const Mean mean = mean_of(all, choice);
      fmt::print("{:>{}.2f}{:>8.2f}{:>8.3f}", 100 * mean.drop,
                 choice == &trials::DropTrial::ours ? 8 : 10, 100 * mean.deviation, mean.cost);
    }
    fmt::print("\n");
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string logits;
  std::vector<double> costs;
  int draws = 200, images = 2000;
  std::uint64_t seed = 1;
  CLI::App app(
      "Measures the accuracy drop on new images for a drop that was requested on tune images");
  CLI::Option* saved = app.add_option(
      "--logits", logits, "Also draw from these saved logits (offramp test --save-logits)");
  app.add_option("--costs", costs, "Relative cost of each exit of --logits")
      ->delimiter(',')
      ->needs(saved);
  app.add_option("--draws", draws, "Draws per line")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--images", images, "Tune images per draw")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", seed, "Seed of the draws")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    print_table("exits with correlated errors", trials::correlated_exits(), images, seed, draws);
    print_table("exits with independent errors", trials::independent_exits(), images, seed, draws);
    if (logits.empty()) return 0;
    const eval::SavedLogits read = eval::load_logits(logits);
    print_table("saved logits", trials::population_of_logits(read.view(), costs), images, seed,
                draws);
  } catch (const Error& error) {
    fmt::print(stderr, "drop_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
