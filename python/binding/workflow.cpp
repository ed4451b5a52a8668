// Calls on model files and data sets: what src/workflow does for the program.
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "calls.h"
#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "images.h"
#include "model.h"
#include "nanobind/stl/array.h"
#include "nanobind/stl/optional.h"
#include "nanobind/stl/pair.h"
#include "nanobind/stl/string.h"
#include "nanobind/stl/string_view.h"
#include "nanobind/stl/vector.h"
#include "workflow/calibrate.h"
#include "workflow/export_network.h"
#include "workflow/import_network.h"
#include "workflow/output_file.h"
#include "workflow/progress.h"
#include "workflow/quantize.h"

namespace offramp::python {
namespace {

using workflow::Progress;

/// The progress function of a Python caller. It is called with (done, total, unit); an exception
/// that it raises ends the call, as one from a signal handler does.
class PythonProgress {
 public:
  PythonProgress(nb::handle report, nb::handle note) : report_(report), note_(note) {}

  Progress progress() {
    return {[this](std::int64_t done, std::int64_t total, std::string_view unit) {
              if (report_.is_none()) return;
              call([&] { report_(done, total, nb::str(unit.data(), unit.size())); });
            },
            [this] {
              if (!failure_)
                call([] {
                  if (PyErr_CheckSignals() != 0) throw nb::python_error();
                });
              return failure_.has_value();
            },
            [this](std::string_view line) {
              if (note_.is_none()) return;
              call([&] { note_(nb::str(line.data(), line.size())); });
            }};
  }

  /// Runs a call without the interpreter's lock; rethrows what Python raised meanwhile.
  auto run(const auto& work) {
    std::optional<decltype(work())> result;
    try {
      const nb::gil_scoped_release release;
      result = work();
    } catch (const workflow::Cancelled&) {
      if (!failure_) throw;
    }
    if (failure_) throw nb::python_error(std::move(*failure_));
    return std::move(*result);
  }

 private:
  void call(const auto& function) {
    const nb::gil_scoped_acquire acquire;
    try {
      function();
    } catch (nb::python_error& error) {
      if (!failure_) failure_.emplace(std::move(error));
    }
  }

  nb::handle report_, note_;
  std::optional<nb::python_error> failure_;
};

nb::object from_calibration(const workflow::Calibration& calibration) {
  const auto& certification = calibration.certification;
  const auto& guarantee = calibration.chosen.guarantee;
  return nb::make_tuple(
      calibration.chosen.policy, calibration.met, calibration.tune.images,
      calibration.tune.last_accuracy, calibration.tune.metrics.accuracy,
      calibration.tune.metrics.relative_cost, to_numpy(calibration.tune.metrics.shares),
      calibration.precision, calibration.kernels,
      certification ? nb::cast(certification->result.images) : nb::none(),
      guarantee ? nb::cast(describe(*guarantee)) : nb::none(), calibration.warnings);
}

policy::Aim to_aim(std::optional<double> threshold, std::optional<double> max_accuracy_drop,
                   std::optional<double> max_cost, std::optional<double> harm, double delta,
                   bool label_free, const std::string& against) {
  const int given = threshold.has_value() + max_accuracy_drop.has_value() + max_cost.has_value() +
                    harm.has_value();
  if (given != 1)
    throw UsageError(fmt::format(
        "expected one of threshold, max_accuracy_drop, max_cost and guarantee, got {}", given));
  if (threshold) return policy::FixedThreshold{*threshold};
  if (max_accuracy_drop) return policy::AccuracyDrop{*max_accuracy_drop};
  if (max_cost) return policy::MaxCost{*max_cost};
  policy::HarmGuarantee aim;
  aim.epsilon = *harm;
  aim.delta = delta;
  aim.label_free = label_free;
  aim.against = policy::harm_reference_from_string(against);
  return aim;
}

}  // namespace

void add_workflow(nb::module_& module) {
  module.def(
      "calibrate",
      [](const std::string& model, const std::string& data, const std::string& out,
         const std::string& criterion, const std::string& ensemble, std::optional<double> threshold,
         std::optional<double> max_accuracy_drop, std::optional<double> max_cost,
         std::optional<double> harm, double delta, bool label_free, const std::string& against,
         const std::string& precision, int threads, nb::handle report, nb::handle note) {
        workflow::CalibrateOptions options;
        options.model = find_model(model);
        options.data = data;
        options.out = out;
        options.shape = {policy::criterion_from_string(criterion),
                         policy::ensemble_from_string(ensemble)};
        options.aim =
            to_aim(threshold, max_accuracy_drop, max_cost, harm, delta, label_free, against);
        options.run = {precision, threads};
        check(options);
        PythonProgress python(report, note);
        const Progress progress = python.progress();
        return from_calibration(python.run([&] { return workflow::calibrate(options, progress); }));
      },
      nb::arg("model"), nb::arg("data"), nb::arg("out"), nb::arg("criterion"), nb::arg("ensemble"),
      nb::arg("threshold").none(), nb::arg("max_accuracy_drop").none(), nb::arg("max_cost").none(),
      nb::arg("guarantee").none(), nb::arg("delta"), nb::arg("label_free"), nb::arg("against"),
      nb::arg("precision"), nb::arg("threads"), nb::arg("progress").none(), nb::arg("note").none());
  module.def(
      "quantize",
      [](const std::string& model, const std::string& data, const std::string& out,
         const std::string& precision, int images, int threads, const std::string& check_images,
         nb::handle report, nb::handle note) {
        workflow::QuantizeOptions options;
        options.model = find_model(model);
        options.data = data;
        options.out = out;
        options.precision = precision;
        options.images = images;
        options.threads = threads;
        options.check_images = check_images;
        PythonProgress python(report, note);
        const Progress progress = python.progress();
        const workflow::Quantized result =
            python.run([&] { return workflow::quantize(options, progress); });
        nb::list exits;
        for (const workflow::ExitLoss& exit : result.exits)
          exits.append(nb::make_tuple(exit.reference_accuracy, exit.accuracy, exit.difference.low,
                                      exit.difference.high, exit.agreement));
        return nb::make_tuple(
            options.written_to().string(), result.observed, result.tune_images, result.stored,
            exits, result.within_bounds, result.bytes_before, result.bytes,
            result.policy ? from_calibration(*result.policy) : nb::none(), result.no_policy);
      },
      nb::arg("model"), nb::arg("data"), nb::arg("out"), nb::arg("precision"), nb::arg("images"),
      nb::arg("threads"), nb::arg("check_images"), nb::arg("progress").none(),
      nb::arg("note").none());
  module.def(
      "import_onnx",
      [](const std::string& network, const std::string& out, const std::string& labels,
         std::vector<std::string> classes, std::optional<std::pair<int, int>> size,
         const std::string& fit, std::optional<std::array<float, 3>> mean,
         std::optional<std::array<float, 3>> std, const std::string& data) {
        workflow::ImportNetworkOptions options;
        options.network = network;
        options.out = out;
        options.labels = labels;
        options.classes = std::move(classes);
        if (size) options.size = onnx::ImageSize{.height = size->first, .width = size->second};
        options.fit = core::fit_from_string(fit);
        options.mean = mean;
        options.std = std;
        options.data = data;
        check_readable(network);
        if (!labels.empty()) check_readable(labels);
        workflow::ImportedModel result;
        run_unlocked([&] { result = workflow::import_network(options); });
        return nb::make_tuple(out, result.producer, result.opset, result.onnx_nodes, result.nodes,
                              result.input, result.classes, result.parameters, result.macs,
                              result.ranges, result.tune, result.certify, result.notes,
                              result.input_scale, result.input_shift);
      },
      nb::arg("network"), nb::arg("out"), nb::arg("labels"), nb::arg("classes"),
      nb::arg("image_size").none(), nb::arg("fit"), nb::arg("mean").none(), nb::arg("std").none(),
      nb::arg("data"));
  module.def(
      "check_output",
      [](const std::string& out, const std::vector<std::string>& inputs) {
        workflow::check_output("out", out, {inputs.begin(), inputs.end()});
      },
      nb::arg("out"), nb::arg("inputs"));
  // The weights of a model file, by name: those of f32 as arrays, quantized ones as None.
  module.def(
      "read_weights",
      [](const std::string& path) {
        const auto file = core::Safetensors::open(path);
        file.check_length();
        nb::dict weights;
        for (const auto& [name, tensor] : file.tensors()) {
          if (tensor.dtype == core::DType::u64) continue;  // hashes of images
          weights[name.c_str()] =
              tensor.dtype == core::DType::f32
                  ? to_numpy(tensor.to_f32(), {tensor.shape.begin(), tensor.shape.end()})
                  : nb::none();
        }
        return weights;
      },
      nb::arg("path"));
  module.def(
      "copy_file",
      [](const std::string& from, const std::string& to) {
        run_unlocked([&] {
          const core::MappedFile file(from);
          const std::array parts = {file.bytes()};
          core::write_file_atomic(to, parts);
        });
      },
      nb::arg("from_"), nb::arg("to"));
  module.def(
      "export_onnx",
      [](const std::string& model, const std::string& out, const std::string& form) {
        workflow::ExportNetworkOptions options;
        options.model = find_model(model);
        options.out = out;
        options.form = onnx::form_from_string(form);
        workflow::ExportedNetwork result;
        run_unlocked([&] { result = workflow::export_network(options); });
        return nb::make_tuple(out, form, result.exits, result.bytes);
      },
      nb::arg("model"), nb::arg("out"), nb::arg("form"));
}

}  // namespace offramp::python
