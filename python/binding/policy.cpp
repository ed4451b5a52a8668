// Decisions from logits: what src/policy computes, on numpy arrays. The package's policy.py checks
// and converts what a person passes.
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "arrays.h"
#include "core/error.h"
#include "model.h"
#include "nanobind/stl/optional.h"
#include "nanobind/stl/string.h"
#include "nanobind/stl/string_view.h"
#include "nanobind/stl/tuple.h"
#include "nanobind/stl/vector.h"
#include "policy/calibration.h"
#include "policy/criteria.h"
#include "policy/drift.h"
#include "policy/fixed_sequence.h"
#include "policy/predict_guarantee.h"
#include "policy/temperature.h"
#include "workflow/evaluate.h"

namespace offramp::python {
namespace {

using namespace nb::literals;

policy::Policy make_policy(std::string_view criterion, policy::Thresholds thresholds,
                           std::vector<float> temperatures, std::string_view ensemble,
                           std::vector<float> weights) {
  policy::Policy policy;
  policy.criterion = policy::criterion_from_string(criterion);
  policy.thresholds = std::move(thresholds);
  policy.temperatures = std::move(temperatures);
  policy.ensemble = policy::ensemble_from_string(ensemble);
  policy.ensemble_weights = std::move(weights);
  check(policy, policy.num_exits());
  return policy;
}

template <typename Work>
auto unlocked(const Work& work) {
  const nb::gil_scoped_release release;
  return work();
}

policy::HarmGuarantee harm_guarantee(double epsilon, double delta, bool label_free,
                                     const std::string& against) {
  policy::HarmGuarantee aim;
  aim.epsilon = epsilon;
  aim.delta = delta;
  aim.label_free = label_free;
  aim.against = policy::harm_reference_from_string(against);
  return aim;
}

nb::object from_chosen(const policy::ChosenThresholds& chosen) {
  return nb::make_tuple(chosen.policy, chosen.accuracy, chosen.relative_cost, chosen.met,
                        chosen.held_out_accuracy);
}

}  // namespace

void add_policy(nb::module_& module) {
  nb::class_<policy::Policy>(
      module, "Policy",
      R"(When an image stops: at the first exit whose score reaches its threshold.

Args:
    thresholds: one for each early exit, [K - 1]; None: the image never stops there.
    criterion: "confidence", "entropy", "margin" or "patience".
    temperatures: one for each exit, [K]; probabilities are softmax(logits / temperature).
        None: 1 for all.
    ensemble: "off", "mean", "geometric" or "weighted": exit k answers with a mean of the
        probabilities of exits 1 to k.
    ensemble_weights: [K], of a weighted ensemble.
)")
      .def(
          "__init__",
          [](policy::Policy* self, policy::Thresholds thresholds, const std::string& criterion,
             std::optional<std::vector<float>> temperatures, const std::string& ensemble,
             std::vector<float> weights) {
            if (!temperatures) temperatures.emplace(thresholds.size() + 1, 1.0f);
            new (self)
                policy::Policy(make_policy(criterion, std::move(thresholds),
                                           std::move(*temperatures), ensemble, std::move(weights)));
          },
          "thresholds"_a, nb::kw_only(), "criterion"_a = "confidence",
          "temperatures"_a = nb::none(), "ensemble"_a = "off",
          "ensemble_weights"_a = std::vector<float>())
      .def_prop_ro(
          "criterion",
          [](const policy::Policy& self) { return std::string(to_string(self.criterion)); })
      .def_prop_ro("thresholds", [](const policy::Policy& self) { return self.thresholds; })
      .def_prop_ro("temperatures", [](const policy::Policy& self) { return self.temperatures; })
      .def_prop_ro("ensemble",
                   [](const policy::Policy& self) { return std::string(to_string(self.ensemble)); })
      .def_prop_ro("ensemble_weights",
                   [](const policy::Policy& self) { return self.ensemble_weights; })
      .def_prop_ro("num_exits", &policy::Policy::num_exits)
      .def("__eq__",
           [](const policy::Policy& a, nb::handle b) {
             return nb::isinstance<policy::Policy>(b) && a == nb::cast<const policy::Policy&>(b);
           })
      .def("__getstate__",
           [](const policy::Policy& self) {
             return nb::make_tuple(std::string(to_string(self.criterion)), self.thresholds,
                                   self.temperatures, std::string(to_string(self.ensemble)),
                                   self.ensemble_weights);
           })
      .def("__setstate__",
           [](policy::Policy* self,
              const std::tuple<std::string, policy::Thresholds, std::vector<float>, std::string,
                               std::vector<float>>& state) {
             const auto& [criterion, thresholds, temperatures, ensemble, weights] = state;
             new (self) policy::Policy(
                 make_policy(criterion, thresholds, temperatures, ensemble, weights));
           })
      .def("__repr__", [](const policy::Policy& self) { return "Policy(" + describe(self) + ")"; });

  module.def("criteria", [] {
    std::vector<std::string> names;
    for (const policy::CriterionInfo& one : policy::criteria()) names.emplace_back(one.name);
    return names;
  });
  module.def("fit_policy", [](const LogitsArray& logits, const LabelsArray& labels,
                              const std::string& criterion, const std::string& ensemble) {
    const policy::PolicyOptions shape = {policy::criterion_from_string(criterion),
                                         policy::ensemble_from_string(ensemble)};
    const policy::LogitsView tune = logits_view(logits, labels);
    return unlocked([&] { return policy::fit_policy(shape, tune); });
  });
  module.def(
      "choose_fixed", [](const policy::Policy& policy, const LogitsArray& logits,
                         const LabelsArray& labels, const CostsArray& costs, double threshold) {
        const policy::FixedThreshold aim = {threshold};
        check(aim, policy.criterion);
        return from_chosen(
            policy::choose_thresholds(policy, logits_view(logits, labels), span_of(costs), aim));
      });
  module.def("choose_accuracy_drop",
             [](const policy::Policy& policy, const LogitsArray& logits, const LabelsArray& labels,
                const CostsArray& costs, double max_drop, double reference) {
               const policy::AccuracyDrop aim = {max_drop};
               check(aim, policy.criterion);
               const policy::LogitsView tune = logits_view(logits, labels);
               return from_chosen(unlocked([&] {
                 return policy::choose_thresholds(policy, tune, span_of(costs), aim, reference);
               }));
             });
  module.def(
      "choose_max_cost", [](const policy::Policy& policy, const LogitsArray& logits,
                            const LabelsArray& labels, const CostsArray& costs, double max_cost) {
        const policy::MaxCost aim = {max_cost};
        check(aim, policy.criterion);
        const policy::LogitsView tune = logits_view(logits, labels);
        return from_chosen(
            unlocked([&] { return policy::choose_thresholds(policy, tune, span_of(costs), aim); }));
      });
  module.def("foresee_guarantee", [](const policy::Policy& policy, const LogitsArray& logits,
                                     const LabelsArray& labels, const CostsArray& costs,
                                     double epsilon, double delta, bool label_free,
                                     const std::string& against, std::int64_t certify_images,
                                     int attempt) {
    const policy::HarmGuarantee aim = harm_guarantee(epsilon, delta, label_free, against);
    check(aim, policy.criterion);
    const policy::LogitsView tune = logits_view(logits, labels);
    return from_chosen(unlocked([&] {
      return policy::predict_guarantee(policy, tune, span_of(costs), aim, certify_images, attempt);
    }));
  });
  module.def("certify", [](const policy::Policy& policy, const LogitsArray& tune_logits,
                           const LabelsArray& tune_labels, const LogitsArray& logits,
                           const LabelsArray& labels, const CostsArray& costs, double epsilon,
                           double delta, bool label_free, const std::string& against, int attempt) {
    const policy::HarmGuarantee aim = harm_guarantee(epsilon, delta, label_free, against);
    check(aim, policy.criterion);
    const policy::LogitsView tune = logits_view(tune_logits, tune_labels);
    const policy::LogitsView certify = logits_view(logits, labels);
    const policy::CertificationResult result = unlocked(
        [&] { return policy::guarantee(policy, tune, certify, span_of(costs), aim, attempt); });
    std::vector<std::int64_t> counted;
    std::vector<double> accuracy, cost;
    std::vector<policy::Thresholds> thresholds;
    for (const policy::PathStep& step : result.path.steps) {
      thresholds.push_back(step.thresholds);
      counted.push_back(step.counted);
      accuracy.push_back(step.accuracy);
      cost.push_back(step.relative_cost);
    }
    return nb::make_tuple(
        result.policy, result.holds(), result.attempt, result.level, result.images,
        result.images_needed, result.counted, result.upper_bound, thresholds, result.path.chosen,
        counted, accuracy, cost, policy::describe_bounds(aim),
        result.disagreement ? std::optional(result.disagreement->upper_bound) : std::nullopt);
  });
  module.def("images_needed", &policy::images_needed, "epsilon"_a, "delta"_a,
             "The smallest number of certify images with which a policy that harms none of them "
             "can be certified: (1 - epsilon)^n <= delta.");
  module.def("fit_temperature", [](const InputArray<float, 2>& logits, const LabelsArray& labels) {
    if (logits.shape(0) != labels.shape(0))
      throw UsageError(fmt::format("labels: {} of them for logits of {} images", labels.shape(0),
                                   logits.shape(0)));
    return unlocked([&] {
      return policy::fit_temperature({logits.data(), logits.size()}, span_of(labels));
    });
  });
  // The scores and answers of all exits, [K, N] each.
  module.def("scores", [](const policy::Policy& policy, const LogitsArray& logits) {
    check(policy, static_cast<int>(logits.shape(0)));
    policy::ExitPredictions predicted = unlocked([&] {
      return policy::predict_exits(policy, {logits.data(), logits.size()},
                                   static_cast<int>(logits.shape(2)));
    });
    const std::vector<std::size_t> shape = {logits.shape(0), logits.shape(1)};
    return nb::make_tuple(
        to_numpy(std::move(predicted.scores), shape),
        to_numpy(std::vector<std::int64_t>(predicted.answers.begin(), predicted.answers.end()),
                 shape));
  });
  // Exit (0-based), class and probability of each image, [N] each, and the answers [N] that harm is
  // counted against.
  module.def("replay", [](const policy::Policy& policy, const LogitsArray& logits,
                          const std::string& against) {
    const policy::HarmReference reference = policy::harm_reference_from_string(against);
    check(policy, static_cast<int>(logits.shape(0)));
    const std::vector<std::int64_t> no_labels(logits.shape(1));
    const policy::LogitsView view = {{logits.data(), logits.size()},
                                     no_labels,
                                     static_cast<int>(logits.shape(0)),
                                     static_cast<int>(logits.shape(2))};
    workflow::StoppedAnswers stopped;
    std::vector<std::int64_t> references;
    unlocked([&] {
      stopped = workflow::replay(view, policy);
      references = policy::reference_answers(policy, view, reference);
    });
    return nb::make_tuple(
        to_numpy(std::vector<std::int64_t>(stopped.exit_index.begin(), stopped.exit_index.end())),
        to_numpy(std::move(stopped.answers)), to_numpy(std::move(stopped.probabilities)),
        to_numpy(std::move(references)));
  });
  module.def("compare_exits", [](const CostsArray& now, double now_images, const CostsArray& then,
                                 double then_images) {
    if (now.shape(0) != then.shape(0))
      throw UsageError(fmt::format("shares: {} and {} exits", now.shape(0), then.shape(0)));
    const policy::DriftVerdict verdict =
        policy::compare_exits(span_of(now), now_images, span_of(then), then_images);
    return nb::make_tuple(std::string(to_string(verdict.drift)), verdict.p_value, verdict.distance);
  });
}

}  // namespace offramp::python
