#include "workflow/sweep.h"

#include <array>
#include <utility>

#include "policy/calibration.h"
#include "policy/criteria.h"

namespace offramp::workflow {
namespace {

constexpr int kThresholds = 1000;
constexpr std::array kEnsembles = {policy::Ensemble::off, policy::Ensemble::mean,
                                   policy::Ensemble::geometric, policy::Ensemble::weighted};

}  // namespace

Sweep sweep_all(const policy::LogitsView& tune, const policy::LogitsView& view,
                std::span<const double> costs) {
  Sweep result{{}, tune.images(), view.images()};
  const std::vector<policy::Criterion> criteria = policy::all_criteria();
  // Temperatures do not depend on the criterion or the ensemble, so they are fitted once.
  const policy::Policy fitted =
      policy::fit_policy({policy::Criterion::confidence, policy::Ensemble::weighted}, tune);
  for (const policy::Ensemble ensemble : kEnsembles) {
    policy::Policy shape = fitted;
    shape.ensemble = ensemble;
    if (ensemble != policy::Ensemble::weighted) shape.ensemble_weights.clear();
    const auto thresholds = eval::sweep_thresholds(shape, criteria, tune, kThresholds);
    auto read = eval::sweep(shape, criteria, thresholds, view, costs);
    auto chosen = eval::sweep(shape, criteria, thresholds, tune, costs);
    for (std::size_t i = 0; i < read.size(); ++i)
      result.curves.push_back({std::move(read[i]), std::move(chosen[i])});
  }
  return result;
}

}  // namespace offramp::workflow
