// Metrics from logits and labels: what src/eval computes, on numpy arrays. The package's metrics.py
// checks and converts what a person passes.
#include <array>
#include <string>
#include <vector>

#include "arrays.h"
#include "core/error.h"
#include "eval/baselines.h"
#include "eval/metrics.h"
#include "eval/overthinking.h"
#include "eval/policy_metrics.h"
#include "eval/reliability.h"
#include "model.h"
#include "nanobind/stl/string.h"
#include "nanobind/stl/vector.h"
#include "policy/policy.h"
#include "workflow/sweep.h"

namespace offramp::python {
namespace {

using namespace nb::literals;

nb::object pair(const eval::Interval& interval) {
  return nb::make_tuple(interval.low, interval.high);
}

nb::object from_counts(const eval::OverthinkingCounts& counts, const std::vector<double>& costs) {
  return nb::make_tuple(counts.images, counts.wasteful(), counts.destructive(), counts.oracle(),
                        counts.errors(), counts.destroyed_errors(), to_numpy(counts.first_correct),
                        to_numpy(counts.lost_after),
                        costs.empty() ? nb::none() : nb::cast(counts.needed_cost(costs)));
}

nb::object from_control(const eval::Baseline& control) {
  return nb::make_tuple(
      control.accuracy, control.accuracy_interval ? pair(*control.accuracy_interval) : nb::none(),
      control.relative_cost, control.difference, pair(control.difference_interval));
}

nb::list from_points(const std::vector<eval::SweepPoint>& points) {
  nb::list all;
  for (const eval::SweepPoint& point : points)
    all.append(nb::make_tuple(point.threshold, point.accuracy, point.relative_cost, point.harm,
                              point.help, point.shares));
  return all;
}

}  // namespace

void add_metrics(nb::module_& module) {
  module.def("wilson", [](std::int64_t successes, std::int64_t n) {
    if (n < 1 || successes < 0 || successes > n)
      throw UsageError(fmt::format("wilson: {} of {} is no rate", successes, n));
    return pair(eval::wilson(successes, n));
  });
  module.def("paired_difference", [](std::int64_t gained, std::int64_t lost, std::int64_t n) {
    if (n < 1 || gained < 0 || lost < 0 || gained + lost > n)
      throw UsageError(
          fmt::format("paired_difference: {} gained and {} lost of {}", gained, lost, n));
    return pair(eval::paired_difference(gained, lost, n));
  });
  module.def("measure", [](const LogitsArray& logits, const LabelsArray& labels,
                           const std::vector<double>& weights, const std::vector<double>& costs) {
    const policy::LogitsView view = logits_view(logits, labels);
    eval::Metrics metrics;
    {
      const nb::gil_scoped_release release;
      metrics = eval::measure(view, weights);
    }
    nb::list exits, ensembles;
    for (const eval::ExitMetrics& exit : metrics.exits)
      exits.append(nb::make_tuple(exit.accuracy, pair(exit.accuracy_interval), exit.nll, exit.ece));
    for (const eval::EnsembleMetrics& ensemble : metrics.ensembles) {
      const char* name = ensemble.kind == eval::EnsembleKind::mean        ? "mean"
                         : ensemble.kind == eval::EnsembleKind::geometric ? "geometric"
                                                                          : "weighted";
      ensembles.append(nb::make_tuple(name, ensemble.accuracy, pair(ensemble.accuracy_interval)));
    }
    return nb::make_tuple(metrics.images, exits, ensembles,
                          from_counts(metrics.overthinking, costs));
  });
  module.def("overthinking_by_class", [](const LogitsArray& logits, const LabelsArray& labels,
                                         const std::vector<double>& costs) {
    nb::list all;
    for (const eval::OverthinkingCounts& counts :
         eval::overthinking_by_class(logits_view(logits, labels)))
      all.append(from_counts(counts, costs));
    return all;
  });
  module.def("confusion_matrix", [](const LogitsArray& logits, const LabelsArray& labels,
                                    int exit_index) {
    const policy::LogitsView view = logits_view(logits, labels);
    eval::check(view);
    if (exit_index < 0 || exit_index >= view.exits)
      throw UsageError(fmt::format("exit: expected 1 to {}, got {}", view.exits, exit_index + 1));
    return to_numpy(eval::confusion_matrix(view, exit_index), {logits.shape(2), logits.shape(2)});
  });
  module.def("reliability", [](const CostsArray& confidence, const LabelsArray& right) {
    if (confidence.shape(0) != right.shape(0) || confidence.shape(0) == 0)
      throw UsageError(fmt::format("reliability: {} confidences for {} images", confidence.shape(0),
                                   right.shape(0)));
    eval::Reliability sums;
    for (std::size_t i = 0; i < confidence.shape(0); ++i) {
      const double one = confidence.data()[i];
      if (!(one >= 0 && one <= 1))
        throw UsageError(
            fmt::format("reliability: confidence {} of image {} is not in [0, 1]", one, i));
      sums.add(one, right.data()[i] != 0);
    }
    nb::list bins;
    for (const eval::ReliabilityBin& bin : sums.bins())
      bins.append(nb::make_tuple(bin.images, bin.confidence, bin.accuracy));
    return nb::make_tuple(sums.error(), bins);
  });
  module.def("measure_policy", [](const LabelsArray& labels, const LabelsArray& exit_index,
                                  const LabelsArray& answers, const LabelsArray& references,
                                  const CostsArray& costs) {
    const std::vector<int> exits(exit_index.data(), exit_index.data() + exit_index.shape(0));
    const eval::PolicyMetrics metrics = eval::measure_policy(
        {span_of(labels), exits, span_of(answers), span_of(references)}, span_of(costs));
    return nb::make_tuple(metrics.accuracy, pair(metrics.accuracy_interval), metrics.relative_cost,
                          to_numpy(metrics.shares), metrics.harm, metrics.help,
                          metrics.reference_accuracy);
  });
  module.def("control_of", [](const LabelsArray& labels, const LabelsArray& policy,
                              const LabelsArray& answers, double relative_cost) {
    return from_control(eval::compare_with_baseline(span_of(labels), span_of(policy),
                                                    span_of(answers), relative_cost));
  });
  module.def("random_exits",
             [](const LogitsArray& logits, const LabelsArray& labels, const LabelsArray& policy,
                const CostsArray& shares, const CostsArray& costs) {
               return from_control(eval::random_exits(logits_view(logits, labels), span_of(policy),
                                                      span_of(shares), span_of(costs)));
             });
  module.def("oracle", [](const LogitsArray& logits, const LabelsArray& labels,
                          const LabelsArray& policy, const CostsArray& costs) {
    return from_control(eval::oracle(logits_view(logits, labels), span_of(policy), span_of(costs)));
  });
  // Curves of all criteria and ensembles: (criterion, ensemble, points read, points on tune).
  module.def("sweep", [](const LogitsArray& tune_logits, const LabelsArray& tune_labels,
                         const LogitsArray& logits, const LabelsArray& labels,
                         const CostsArray& costs) {
    const policy::LogitsView tune = logits_view(tune_logits, tune_labels);
    const policy::LogitsView view = logits_view(logits, labels);
    workflow::Sweep result;
    {
      const nb::gil_scoped_release release;
      result = workflow::sweep_all(tune, view, span_of(costs));
    }
    nb::list curves;
    for (const workflow::SweptCurve& curve : result.curves)
      curves.append(nb::make_tuple(std::string(to_string(curve.read.criterion)),
                                   std::string(to_string(curve.read.ensemble)),
                                   from_points(curve.read.points), from_points(curve.tune.points)));
    return curves;
  });
}

}  // namespace offramp::python
