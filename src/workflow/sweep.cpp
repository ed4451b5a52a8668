#include "workflow/sweep.h"

#include <array>
#include <utility>

#include "policy/calibration.h"
#include "policy/criteria.h"

namespace offramp::workflow {
namespace {

constexpr int kThresholds = 1000;
constexpr std::array kEnsembles = {Ensemble::off, Ensemble::mean, Ensemble::geometric,
                                   Ensemble::weighted};

}  // namespace

Sweep sweep_all(const LogitsView& tune, const LogitsView& view, std::span<const double> costs) {
  Sweep result{{}, tune.images(), view.images()};
  const std::vector<Criterion> criteria = all_criteria();
  // Temperatures do not depend on the criterion or the ensemble, so they are fitted once.
  const Policy fitted = fit_policy({Criterion::confidence, Ensemble::weighted}, tune);
  for (const Ensemble ensemble : kEnsembles) {
    Policy shape = fitted;
    shape.ensemble = ensemble;
    if (ensemble != Ensemble::weighted) shape.ensemble_weights.clear();
    const auto thresholds = sweep_thresholds(shape, criteria, tune, kThresholds);
    auto read = sweep(shape, criteria, thresholds, view, costs);
    auto chosen = sweep(shape, criteria, thresholds, tune, costs);
    for (std::size_t i = 0; i < read.size(); ++i)
      result.curves.push_back({std::move(read[i]), std::move(chosen[i])});
  }
  return result;
}

}  // namespace offramp::workflow
