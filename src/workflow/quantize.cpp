#include "workflow/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "policy/policy.h"
#include "runtime/precision.h"
#include "runtime/quantize.h"
#include "workflow/certificate_count.h"
#include "workflow/evaluate.h"
#include "workflow/output_file.h"
#include "workflow/provenance.h"
#include "workflow/selected_images.h"
#include "workflow/stored_images.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;

std::vector<ExitLoss> exit_losses(const policy::LogitsView& reference,
                                  const policy::LogitsView& ours) {
  std::vector<ExitLoss> exits;
  const std::int64_t images = ours.images();
  for (int k = 0; k < ours.exits; ++k) {
    std::int64_t right = 0, reference_correct = 0, same = 0, gained = 0, lost = 0;
    for (std::int64_t i = 0; i < images; ++i) {
      const std::int64_t label = ours.labels[static_cast<std::size_t>(i)];
      const int a = policy::argmax(ours.at(k, i)), b = policy::argmax(reference.at(k, i));
      same += a == b;
      right += a == label;
      reference_correct += b == label;
      gained += a == label && b != label;
      lost += a != label && b == label;
    }
    const auto n = static_cast<double>(images);
    exits.push_back({static_cast<double>(reference_correct) / n, static_cast<double>(right) / n,
                     eval::paired_difference(gained, lost, images), static_cast<double>(same) / n});
  }
  return exits;
}

/// The options by which the policy is chosen anew. If it cannot be, returns nullopt and writes the
/// reason to result.no_policy.
std::optional<CalibrateOptions> options_to_choose_anew(const QuantizeOptions& options,
                                                       const model::ModelFile& model,
                                                       Quantized& result) {
  if (!model.policy) {
    result.no_policy = "the model has no policy; \"offramp calibrate\" chooses one";
    return std::nullopt;
  }
  if (!can_be_chosen_anew(*model.policy)) {
    result.no_policy = fmt::format(
        "the policy's aim ({}) needs more than this model; choose a policy with \"offramp "
        "calibrate\"",
        policy::describe_aim(model.policy->aim));
    return std::nullopt;
  }
  CalibrateOptions again;
  again.model = options.model;
  again.data = options.data;
  again.out = options.written_to();
  again.shape = {model.policy->policy.criterion, model.policy->policy.ensemble};
  again.aim = *model.policy->aim;
  // A policy that could not be certified has no ensemble, whatever its aim was counted against.
  if (auto* harm = std::get_if<policy::HarmGuarantee>(&again.aim);
      harm && again.shape.ensemble == policy::Ensemble::off)
    harm->against = policy::HarmReference::last_exit;
  again.run = {options.precision, options.threads};
  return again;
}

/// Chooses the model's policy anew for the deployed model and writes the file. It is written once,
/// at the end, so that a file of an earlier run stays complete until then.
void write_with_policy(const QuantizeOptions& options, const model::ModelFile& model,
                       model::ModelFile deployed, Quantized& result, const Progress& progress) {
  deployed.certificates =
      std::max(model.certificates, recorded_attempts(options.written_to(), model));
  const auto again = options_to_choose_anew(options, model, result);
  if (!again) {
    const core::FileLock lock = lock_to_change(options.written_to());
    deployed.certificates =
        std::max({model.certificates, model::load_model(options.model).certificates,
                  recorded_attempts(options.written_to(), model)});
    model::save_model(options.written_to(), deployed);
    return;
  }
  result.policy_options = *again;
  result.policy = calibrate(*again, std::move(deployed), progress);
}

model::ModelFile deployed_from(const QuantizeOptions& options, const model::ModelFile& model,
                               const data::Dataset& data, Quantized& result) {
  if (options.precision == "bf16") return runtime::rounded_to_bf16(model);
  if (model.provenance.data.train.empty())
    throw Error(fmt::format("{}: the model does not list the images of its train part",
                            options.model.string()));
  const auto observed =
      take_evenly(indices_of_listed(data, model.provenance.data.train), options.images);
  if (observed.empty())
    throw Error(fmt::format(
        "{}: contains no image that the model was trained on, and ranges of activations are "
        "observed on training images",
        options.data));
  result.observed = static_cast<std::int64_t>(observed.size());
  return runtime::quantised_to_int8(model, normalised_images(data, observed, model.preprocessing),
                                    options.threads > 0 ? options.threads : core::usable_cores());
}

/// Images that may be stored in the file.
struct CheckImages {
  std::unique_ptr<data::LoadedData> own;   ///< null: they are among the training data
  const data::Dataset* dataset = nullptr;  ///< must stay valid
  std::vector<std::int64_t> indices;
};

/// The images named by the options, or the tune images. They are loaded before the model runs, so
/// that a wrong name is seen at once.
CheckImages check_images(const QuantizeOptions& options, const model::ModelFile& model,
                         const data::LoadedData& train) {
  if (options.check_images.empty())
    return {nullptr, &train.dataset, indices_of_listed(train.dataset, model.provenance.data.tune)};
  CheckImages images;
  images.own = std::make_unique<data::LoadedData>(
      data::load_data(options.check_images, data::Part::test, load_options(model)));
  images.dataset = &images.own->dataset;
  images.indices = all_indices(*images.dataset);
  return images;
}

}  // namespace

std::vector<ExitLoss> measure_loss(const model::ModelFile& model, model::ModelFile& deployed,
                                   const EvaluationSet& tune, int threads,
                                   const Progress& progress) {
  const auto logits = [&](const model::ModelFile& file, const std::string& precision) {
    return run_all_exits(*open_model(file, {precision, threads}, progress), tune, progress);
  };
  const eval::SavedLogits reference = logits(model, "f32");
  const eval::SavedLogits ours = logits(deployed, deployed.deployment->precision);
  std::vector<ExitLoss> exits = exit_losses(reference.view(), ours.view());
  const ExitLoss& last = exits.back();
  deployed.deployment->measured = {ours.view().images(), last.agreement,
                                   last.accuracy,        last.reference_accuracy,
                                   last.difference.low,  last.difference.high};
  return exits;
}

fs::path QuantizeOptions::written_to() const {
  if (!out.empty()) return out;
  fs::path path = model;
  return path.replace_extension("." + precision + ".safetensors");
}

bool can_be_chosen_anew(const policy::ChosenPolicy& chosen) {
  if (!chosen.aim || policy::cost_unit_of(*chosen.aim) == policy::CostUnit::ms) return false;
  const auto* drop = std::get_if<policy::AccuracyDrop>(&*chosen.aim);
  return drop == nullptr || drop->reference.empty();
}

Quantized quantize(const QuantizeOptions& options, const Progress& progress) {
  const runtime::Precision precision = runtime::precision_from_string(options.precision);
  if (precision == runtime::Precision::f32)
    throw UsageError("precision: a deployment file holds bf16 or int8, got \"f32\"");
  if (options.images < 1)
    throw UsageError(fmt::format("images: expected at least 1, got {}", options.images));
  if (!runtime::has_instructions_for(precision))
    throw Error(fmt::format(
        "this CPU has no instructions for {}, so its loss of accuracy cannot be measured",
        options.precision));
  const fs::path out = options.written_to();
  // The default output lies beside the model, so a model in a missing folder is reported first.
  const model::ModelFile model = model::load_model(options.model);
  check_output("out", out, {options.model, options.data, options.check_images});
  const data::LoadedData train =
      data::load_data(options.data, data::Part::train, load_options(model));
  Quantized result;
  model::ModelFile deployed;
  try {
    check_same_classes(model, train.dataset);
    deployed = deployed_from(options, model, train.dataset, result);
  } catch (const Error& error) {
    core::throw_with_place(options.model.string(), error);
  }
  const CheckImages images = check_images(options, model, train);
  const ListedImages listed = find_listed_images(options.model, model, train.dataset,
                                                 model.provenance.data.tune, "tune", options.data);
  const EvaluationSet tune{&train.dataset, listed.indices, &model.preprocessing};
  result.exits = measure_loss(model, deployed, tune, options.threads, progress);
  result.tune_images = deployed.deployment->measured.images;
  const auto opened = open_model(deployed, {options.precision, options.threads}, progress);
  result.within_bounds = model::is_within_bounds(*deployed.deployment);
  if (precision == runtime::Precision::int8)
    deployed.stored_images = images_to_store(*opened, *images.dataset,
                                             take_evenly(images.indices, model::kStoredImages));
  result.stored = deployed.stored_images.count;
  write_with_policy(options, model, std::move(deployed), result, progress);
  result.bytes_before = static_cast<std::int64_t>(fs::file_size(options.model));
  result.bytes = static_cast<std::int64_t>(fs::file_size(out));
  return result;
}

}  // namespace offramp::workflow
