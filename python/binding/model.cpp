#include "model.h"

#include <optional>

#include "arrays.h"
#include "core/error.h"
#include "images.h"
#include "nanobind/stl/optional.h"
#include "nanobind/stl/string.h"
#include "nanobind/stl/string_view.h"
#include "nanobind/stl/vector.h"
#include "workflow/run_folder.h"

namespace offramp::python {

using namespace nb::literals;

LoadedModel::LoadedModel(const std::string& path, const Options& options) : path_(path) {
  // Loading runs the network: it also looks at signals, as it may take seconds.
  std::optional<Model> loaded;
  run_interruptibly([&] { loaded = Model::load(path, options); }, [] {});
  model_ = make_owned(std::move(*loaded));
}

Model LoadedModel::get() const {
  if (!model_) throw Error("the model is closed");
  if (is_of_parent())
    throw Error(
        "the model was loaded before this process was forked, and its threads stayed "
        "behind: load it in the child process, or start processes by \"spawn\"");
  return *model_;
}

nb::object from_guarantee(const std::optional<Guarantee>& guarantee) {
  if (!guarantee) return nb::none();
  const nb::object in_force = guarantee->in_force == InForce::unknown
                                  ? nb::none()
                                  : nb::object(nb::bool_(guarantee->in_force == InForce::yes));
  return nb::make_tuple(guarantee->of, guarantee->epsilon, guarantee->delta, in_force,
                        guarantee->why, guarantee->against, guarantee->disagreement);
}

namespace {

/// Whether an object is a truth value: Python's, or a scalar of a dtype "bool" or "torch.bool".
bool is_bool(nb::handle object) {
  if (PyBool_Check(object.ptr())) return true;
  const auto dtype = nb::cast<std::string>(nb::str(nb::getattr(object, "dtype", nb::none())));
  return dtype == "bool" || dtype == "torch.bool";
}

/// Whether an object is one number: Python's, numpy's or a tensor without dimensions.
bool is_number(nb::handle object) {
  if (is_bool(object)) return false;
  if (PyFloat_Check(object.ptr()) || PyLong_Check(object.ptr())) return true;
  return nb::hasattr(object, "__float__") &&
         nb::getattr(object, "ndim", nb::int_(0)).equal(nb::int_(0));
}

nb::list from_path(const Model& model) {
  nb::list steps;
  for (const PolicyStep& step : model.policy_path())
    steps.append(
        nb::make_tuple(step.thresholds, step.accuracy, step.relative_cost, step.certified));
  return steps;
}

}  // namespace

std::string find_model(const std::string& path) {
  std::string found = workflow::model_path(path).string();
  check_readable(found);
  return found;
}

std::optional<Stop> to_stop(nb::handle object) {
  if (object.is_none()) return std::nullopt;
  if (nb::isinstance<Stop>(object)) return nb::cast<Stop>(object);
  if (nb::isinstance<nb::str>(object)) {
    const auto word = nb::cast<std::string>(object);
    if (word == "policy") return Stop::by_policy();
    if (word == "never") return Stop::never();
    throw UsageError(
        fmt::format("stop: expected \"policy\", \"never\", a threshold or an offramp.Stop, got {}",
                    core::quote(word)));
  }
  if (is_number(object)) {
    const double threshold = PyFloat_AsDouble(object.ptr());
    if (threshold == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
    return Stop::at_threshold(static_cast<float>(threshold));
  }
  throw nb::type_error("stop: expected \"policy\", \"never\", a threshold or an offramp.Stop");
}

void add_model(nb::module_& module) {
  module.def("to_stop", &to_stop, "stop"_a.none());
  module.def("find_model", &find_model, "path"_a);

  nb::class_<LoadedModel>(module, "Model")
      .def(
          "__init__",
          [](LoadedModel* self, const std::string& path, const std::string& precision, int threads,
             int batch) {
            new (self) LoadedModel(find_model(path), {precision, threads, batch});
          },
          "path"_a, "precision"_a, "threads"_a, "batch"_a)
      .def_prop_ro("path", &LoadedModel::path)
      .def("close", &LoadedModel::close)
      .def_prop_ro("closed", &LoadedModel::is_closed)
      .def("classes", [](const LoadedModel& self) { return self.get().classes(); })
      .def("size",
           [](const LoadedModel& self) {
             const Model model = self.get();
             return nb::make_tuple(model.channels(), model.height(), model.width());
           })
      .def("macs", [](const LoadedModel& self) { return to_numpy(self.get().macs()); })
      .def("relative_costs",
           [](const LoadedModel& self) { return to_numpy(self.get().relative_costs()); })
      .def("has_policy", [](const LoadedModel& self) { return self.get().has_policy(); })
      .def("criterion", [](const LoadedModel& self) { return self.get().criterion(); })
      .def("policy_path", [](const LoadedModel& self) { return from_path(self.get()); })
      .def("chosen_step", [](const LoadedModel& self) { return self.get().chosen_step(); })
      .def(
          "guarantee",
          [](const LoadedModel& self, bool check) {
            const Model model = self.get();
            std::optional<Guarantee> guarantee;
            run_unlocked([&] { guarantee = check ? model.guarantee() : model.guarantee_so_far(); });
            return from_guarantee(guarantee);
          },
          "check"_a)
      .def("precision", [](const LoadedModel& self) { return self.get().precision(); })
      .def("threads", [](const LoadedModel& self) { return self.get().threads(); })
      .def("batch", [](const LoadedModel& self) { return self.get().batch(); })
      .def("notes", [](const LoadedModel& self) { return self.get().notes(); });

  nb::class_<Stop>(module, "Stop",
                   R"(When an image stops. There is always an answer: that of exit 1 at least.

Made by the static methods, and limited by ``and_within`` and ``and_within_macs``:

    Stop.by_policy().and_within(5.0)    # by the policy, and after 5 ms at the latest
)")
      .def_static("by_policy", &Stop::by_policy,
                  "By the policy of the model, as it was calibrated: the only rule that a "
                  "certificate speaks of.")
      .def_static("at_threshold", &Stop::at_threshold, "threshold"_a,
                  "At the first exit whose score, in [0, 1], reaches the threshold. The score is "
                  "by the policy's criterion; without a policy it is the largest probability.")
      .def_static("at_score", &Stop::at_score, "criterion"_a, "threshold"_a,
                  "At the first exit whose score by this criterion reaches the threshold: "
                  "\"confidence\", \"entropy\", \"margin\" (in [0, 1]) or \"patience\" (a number "
                  "of exits that agree).")
      .def_static("at_step", &Stop::at_step, "step"_a,
                  "By a step of `Model.policy_path`, from 0, the most cautious one: a policy that "
                  "stops later than the chosen one, and that the certificate covers too, for the "
                  "code that was certified.")
      .def_static("never", &Stop::never, "At the last exit.")
      .def_static("within", &Stop::within, "milliseconds"_a,
                  "As deep as this time allows, decoding included.")
      .def_static("within_macs", &Stop::within_macs, "macs"_a,
                  "As deep as this many multiply-accumulates allow.")
      .def("and_within", &Stop::and_within, "milliseconds"_a,
           "The same rule, and at the latest when the time is up.")
      .def("and_within_macs", &Stop::and_within_macs, "macs"_a,
           "The same rule, and at most this many multiply-accumulates.")
      .def("__eq__", [](const Stop& a, nb::handle b) {
        return nb::isinstance<Stop>(b) && a == nb::cast<Stop>(b);
      });
}

}  // namespace offramp::python
