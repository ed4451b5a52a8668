// The report from arrays: the page of src/report. The package's _report.py checks and converts what
// a person passes.
#include "report/report.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "core/error.h"
#include "eval/sweep.h"
#include "model.h"
#include "nanobind/stl/optional.h"
#include "nanobind/stl/pair.h"
#include "nanobind/stl/string.h"
#include "nanobind/stl/vector.h"
#include "policy/calibration.h"
#include "policy/criteria.h"
#include "workflow/baselines.h"
#include "workflow/evaluate.h"

namespace offramp::python {
namespace {

constexpr int kCurvePoints = 200;

using PixelsArray = InputArray<std::uint8_t, 4>;  // [N, H, W, 3]

struct ReportArrays {
  policy::LogitsView test;
  std::optional<policy::LogitsView> tune;
  std::optional<PixelsArray> images;
};

report::ReportPolicy replayed(const policy::Policy& policy, const policy::LogitsView& view,
                              const std::vector<double>& costs) {
  workflow::StoppedAnswers stopped = workflow::replay(view, policy);
  const std::vector<std::int64_t> last = workflow::last_exit_answers(view);
  report::ReportPolicy result;
  result.policy = policy;
  result.metrics =
      eval::measure_policy({view.labels, stopped.exit_index, stopped.answers, last}, costs);
  result.exit_index = std::move(stopped.exit_index);
  result.answers = std::move(stopped.answers);
  return result;
}

std::string page(const ReportArrays& arrays, const std::optional<policy::Policy>& policy,
                 report::ReportInput input, std::string aim, std::string guarantee,
                 std::string guarantee_status, const std::vector<double>& alone) {
  input.test = arrays.test;
  const auto exits = static_cast<std::size_t>(input.test.exits);
  if (input.costs.size() != exits || alone.size() != exits)
    throw UsageError(fmt::format("costs: {} for {} exits", input.costs.size(), exits));
  const std::vector<double> even(exits, 1.0 / static_cast<double>(exits));
  input.metrics = eval::measure(input.test, even);
  input.policy =
      replayed(policy.value_or(policy::never_stop(input.test.exits)), input.test, input.costs);
  input.policy.aim = std::move(aim);
  input.policy.guarantee = std::move(guarantee);
  input.policy.guarantee_status = std::move(guarantee_status);
  if (exits > 1)
    input.controls = workflow::own_baselines(input.test, input.costs, alone, input.policy.answers,
                                             input.policy.metrics);
  if (exits < 2) {
    input.no_curves = "The network has no early exit.";
  } else if (!arrays.tune) {
    input.no_curves = "No tune images were given to choose thresholds on.";
  } else {
    const std::vector<policy::Criterion> criteria = policy::all_criteria();
    const policy::Policy shape =
        policy::fit_policy({policy::Criterion::confidence, policy::Ensemble::off}, *arrays.tune);
    const auto thresholds = eval::sweep_thresholds(shape, criteria, *arrays.tune, kCurvePoints);
    input.curves = eval::sweep(shape, criteria, thresholds, input.test, input.costs);
  }
  input.image = [&](std::int64_t i) {
    if (!arrays.images) return image::Image{1, 1, {128, 128, 128}};
    const PixelsArray& pixels = *arrays.images;
    const std::size_t size = pixels.shape(1) * pixels.shape(2) * 3;
    const std::uint8_t* first = pixels.data() + static_cast<std::size_t>(i) * size;
    return image::Image{static_cast<int>(pixels.shape(2)),
                        static_cast<int>(pixels.shape(1)),
                        {first, first + size}};
  };
  return report::report_html(input);
}

}  // namespace

void add_report(nb::module_& module) {
  module.def(
      "report",
      [](const LogitsArray& logits, const LabelsArray& labels, std::vector<double> costs,
         const std::vector<double>& alone_costs, const std::optional<policy::Policy>& policy,
         const std::optional<LogitsArray>& tune_logits,
         const std::optional<LabelsArray>& tune_labels, const std::optional<PixelsArray>& images,
         std::string title, std::string data, std::vector<std::string> classes,
         std::vector<std::string> exit_units, std::vector<std::string> names,
         std::vector<std::pair<std::string, std::string>> facts, std::string aim,
         std::string guarantee, std::string guarantee_status) {
        ReportArrays arrays = {logits_view(logits, labels), std::nullopt, images};
        if (tune_logits && tune_labels) arrays.tune = logits_view(*tune_logits, *tune_labels);
        if (images && (images->shape(0) != labels.shape(0) || images->shape(3) != 3))
          throw UsageError(
              fmt::format("images: expected {} of [height, width, 3]", labels.shape(0)));
        report::ReportInput input;
        input.title = std::move(title);
        input.data = std::move(data);
        input.classes = std::move(classes);
        input.exit_units = std::move(exit_units);
        input.costs = std::move(costs);
        input.names = std::move(names);
        input.facts = std::move(facts);
        const nb::gil_scoped_release release;
        return page(arrays, policy, std::move(input), std::move(aim), std::move(guarantee),
                    std::move(guarantee_status), alone_costs);
      },
      nb::arg("logits"), nb::arg("labels"), nb::arg("costs"), nb::arg("alone_costs"),
      nb::arg("policy").none(), nb::arg("tune_logits").none(), nb::arg("tune_labels").none(),
      nb::arg("images").none(), nb::arg("title"), nb::arg("data"), nb::arg("classes"),
      nb::arg("exit_units"), nb::arg("names"), nb::arg("facts"), nb::arg("aim"),
      nb::arg("guarantee"), nb::arg("guarantee_status"));
}

}  // namespace offramp::python
