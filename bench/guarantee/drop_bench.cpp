// What `offramp calibrate --max-accuracy-drop` does to new images: draws tune images again and
// again from a population whose rates are known, chooses thresholds on them, and prints the true
// drop beside the one that was asked for. Next to it the cheapest thresholds there are that keep to
// the drop on tune: the best of very many on few images.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
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

}  // namespace

int main(int argc, char** argv) {
  std::string logits;
  std::vector<double> costs;
  int draws = 200, images = 2000;
  std::uint64_t seed = 1;
  CLI::App app("What an accuracy drop that was asked for on tune images is on new ones");
  app.add_option("--logits", logits, "Draw from these: offramp test --save-logits");
  app.add_option("--costs", costs, "Relative cost of each exit")->delimiter(',');
  app.add_option("--draws", draws, "Draws for each line")->capture_default_str();
  app.add_option("--images", images, "Tune images of a draw")->capture_default_str();
  app.add_option("--seed", seed, "Of the draws")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    trials::Population population = trials::correlated_exits();
    if (!logits.empty()) {
      const SavedLogits saved = load_logits(logits);
      population = trials::pool_of(saved.view(), costs);
    }
    fmt::print("{:>8}{:>30}{:>34}\n{:>8}{:>14}{:>8}{:>8}{:>18}{:>8}{:>8}\n", "asked, %",
               "calibrate: true drop, %", "cheapest on tune: true drop, %", "", "mean", "sd",
               "cost", "mean", "sd", "cost");
    for (const double drop : {0.0, 0.001, 0.005, 0.01, 0.02}) {
      const auto all = trials::run_drop_trials(population, images, drop, seed, draws);
      const Mean ours = mean_of(all, &trials::DropTrial::ours);
      const Mean searched = mean_of(all, &trials::DropTrial::searched);
      fmt::print("{:>8.1f}{:>14.2f}{:>8.2f}{:>8.3f}{:>18.2f}{:>8.2f}{:>8.3f}\n", 100 * drop,
                 100 * ours.drop, 100 * ours.deviation, ours.cost, 100 * searched.drop,
                 100 * searched.deviation, searched.cost);
      std::fflush(stdout);
    }
  } catch (const Error& error) {
    fmt::print(stderr, "drop_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
