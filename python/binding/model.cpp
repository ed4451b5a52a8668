#include "model.h"

#include <algorithm>
#include <limits>
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

/// Numbers beyond the range of an int become its limits: they are refused later.
int to_int(nb::handle object, const char* name) {
  return static_cast<int>(std::clamp<std::int64_t>(to_whole_number(object, name),
                                                   std::numeric_limits<int>::min(),
                                                   std::numeric_limits<int>::max()));
}

/// The Stop of a call such as `Stop.at_threshold(0.5)`.
PythonStop made_by(const char* method, const Stop& stop, const auto&... arguments) {
  return {{stop}, nullptr, method, nb::make_tuple(arguments...)};
}

/// The Stop of a call such as `before.and_within(5.0)`.
PythonStop made_from(const PythonStop& before, const char* method, const Stop& stop,
                     const auto& argument) {
  return {{stop}, std::make_shared<const PythonStop>(before), method, nb::make_tuple(argument)};
}

/// What a pickled Stop is made of again: a call of its method.
nb::tuple reduced(const PythonStop& stop) {
  const nb::object call =
      nb::module_::import_("operator")
          .attr("methodcaller")(stop.method, *nb::borrow<nb::args>(stop.arguments));
  const nb::object on = stop.before ? nb::cast(*stop.before) : nb::borrow(nb::type<PythonStop>());
  return nb::make_tuple(call, nb::make_tuple(on));
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
  if (path.find('\0') != path.npos) throw UsageError("path: a null character in it");
  std::string found = workflow::model_path(path).string();
  check_readable(found);
  return found;
}

std::string PythonStop::text() const {
  std::string values;
  for (const nb::handle value : arguments)
    values += (values.empty() ? "" : ", ") + nb::cast<std::string>(nb::repr(value));
  return fmt::format("{}.{}({})", before ? before->text() : "Stop", method, values);
}

std::optional<PythonStop> to_stop(nb::handle object) {
  if (object.is_none()) return std::nullopt;
  if (nb::isinstance<PythonStop>(object)) return nb::cast<PythonStop>(object);
  if (nb::isinstance<nb::str>(object)) {
    const auto word = nb::cast<std::string>(object);
    if (word == "policy") return made_by("by_policy", Stop::by_policy());
    if (word == "never") return made_by("never", Stop::never());
    throw UsageError(
        fmt::format("stop: expected \"policy\", \"never\", a threshold or an offramp.Stop, got {}",
                    core::quote(word)));
  }
  if (is_number(object)) {
    const double threshold = to_number(object, "stop");
    return made_by("at_threshold", Stop::at_threshold(static_cast<float>(threshold)), threshold);
  }
  throw nb::type_error("stop: expected \"policy\", \"never\", a threshold or an offramp.Stop");
}

void add_model(nb::module_& module) {
  module.def("to_stop", &to_stop, "stop"_a.none());
  module.def("find_model", &find_model, "path"_a);

  nb::class_<LoadedModel>(module, "Model")
      .def(
          "__init__",
          [](LoadedModel* self, const std::string& path, const std::string& precision,
             nb::handle threads, nb::handle batch) {
            new (self) LoadedModel(find_model(path),
                                   {precision, to_int(threads, "threads"), to_int(batch, "batch")});
          },
          "path"_a, "precision"_a, "threads"_a.none(), "batch"_a.none())
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

  nb::class_<PythonStop>(module, "Stop",
                         R"(When an image stops. There is always an answer: that of exit 1 at least.

Made by the static methods, and limited by ``and_within`` and ``and_within_macs``:

    Stop.by_policy().and_within(5.0)    # by the policy, and after 5 ms at the latest
)")
      .def_static(
          "by_policy", [] { return made_by("by_policy", Stop::by_policy()); },
          "By the policy of the model, as it was calibrated: the only rule that a certificate "
          "speaks "
          "of.")
      .def_static(
          "at_threshold",
          [](nb::handle object) {
            const double threshold = to_number(object, "threshold");
            return made_by("at_threshold", Stop::at_threshold(static_cast<float>(threshold)),
                           threshold);
          },
          "threshold"_a.none(), nb::sig("def at_threshold(threshold: float) -> Stop"),
          "At the first exit whose score, in [0, 1], reaches the threshold. The score is by the "
          "policy's criterion; without a policy it is the largest probability.")
      .def_static(
          "at_score",
          [](nb::handle name, nb::handle object) {
            std::string criterion;
            if (!nb::try_cast(name, criterion)) throw nb::type_error("criterion: expected a str");
            const double threshold = to_number(object, "threshold");
            return made_by("at_score", Stop::at_score(criterion, static_cast<float>(threshold)),
                           criterion, threshold);
          },
          "criterion"_a.none(), "threshold"_a.none(),
          nb::sig("def at_score(criterion: str, threshold: float) -> Stop"),
          "At the first exit whose score by this criterion reaches the threshold: \"confidence\", "
          "\"entropy\", \"margin\" (in [0, 1]) or \"patience\" (a number of exits that agree).")
      .def_static(
          "at_step",
          [](nb::handle object) {
            const int step = to_int(object, "step");
            return made_by("at_step", Stop::at_step(step), step);
          },
          "step"_a.none(), nb::sig("def at_step(step: int) -> Stop"),
          "By a step of `Model.policy_path`, from 0, the most cautious one: a policy that stops "
          "later than the chosen one, and that the certificate covers too, for the code that was "
          "certified.")
      .def_static(
          "never", [] { return made_by("never", Stop::never()); }, "At the last exit.")
      .def_static(
          "within",
          [](nb::handle object) {
            const double milliseconds = to_number(object, "milliseconds");
            return made_by("within", Stop::within(milliseconds), milliseconds);
          },
          "milliseconds"_a.none(), nb::sig("def within(milliseconds: float) -> Stop"),
          "As deep as this time allows, decoding included.")
      .def_static(
          "within_macs",
          [](nb::handle object) {
            const std::int64_t macs = to_whole_number(object, "macs");
            return made_by("within_macs", Stop::within_macs(macs), macs);
          },
          "macs"_a.none(), nb::sig("def within_macs(macs: int) -> Stop"),
          "As deep as this many multiply-accumulates allow.")
      .def(
          "and_within",
          [](const PythonStop& self, nb::handle object) {
            const double milliseconds = to_number(object, "milliseconds");
            return made_from(self, "and_within", self.and_within(milliseconds), milliseconds);
          },
          "milliseconds"_a.none(), nb::sig("def and_within(self, milliseconds: float) -> Stop"),
          "The same rule, and at the latest when the time is up.")
      .def(
          "and_within_macs",
          [](const PythonStop& self, nb::handle object) {
            const std::int64_t macs = to_whole_number(object, "macs");
            return made_from(self, "and_within_macs", self.and_within_macs(macs), macs);
          },
          "macs"_a.none(), nb::sig("def and_within_macs(self, macs: int) -> Stop"),
          "The same rule, and at most this many multiply-accumulates.")
      .def("__eq__",
           [](const PythonStop& a, nb::handle b) {
             return nb::isinstance<PythonStop>(b) &&
                    static_cast<const Stop&>(a) == nb::cast<const PythonStop&>(b);
           })
      .def("__repr__", &PythonStop::text)
      .def("__reduce__", &reduced);
}

}  // namespace offramp::python
