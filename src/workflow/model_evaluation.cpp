#include "workflow/model_evaluation.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/version.h"
#include "policy/calibration.h"
#include "workflow/baselines.h"
#include "workflow/certificate_count.h"
#include "workflow/evaluate.h"
#include "workflow/output_file.h"
#include "workflow/provenance.h"

namespace offramp::workflow {
namespace {

data::Part part_of_data(ImagePart part) {
  return part == ImagePart::test ? data::Part::test : data::Part::train;
}

/// The model and the images of one evaluation.
struct EvaluationContext {
  const EvaluateOptions& options;
  const Progress& progress;
  std::shared_ptr<engine::OpenedModel> model;
  data::LoadedData loaded;
  EvaluationSet set;

  const model::ModelFile& file() const { return model->file(); }
};

void remark_skipped(const data::LoadedData& loaded, const Progress& progress) {
  if (loaded.skipped.empty()) return;
  const data::SkippedImage& first = loaded.skipped.front();
  progress.remark(fmt::format("skipped {} damaged images, the first is {}: {}",
                              loaded.skipped.size(), first.name, first.reason));
}

std::vector<std::int64_t> choose_images(const EvaluationContext& context) {
  const EvaluateOptions& options = context.options;
  if (options.part == ImagePart::test)
    return images_to_test(options.model, context.file(), context.loaded, options.skip_trained);
  try {
    check_same_classes(context.file(), context.loaded.dataset);
  } catch (const Error& error) {
    core::throw_with_place(options.model.string(), error);
  }
  const model::DataProvenance& provenance = context.file().provenance.data;
  const auto& hashes = options.part == ImagePart::tune ? provenance.tune : provenance.certify;
  return find_listed_images(options.model, context.file(), context.loaded.dataset, hashes,
                            std::string(to_string(options.part)), options.data)
      .indices;
}

PolicyEvaluation run_policy(const EvaluationContext& context, const Evaluation& result,
                            const policy::ChosenPolicy& chosen) {
  const StoppedAnswers stopped =
      run_with_policy(*context.model, context.set, chosen.policy, context.progress);
  const policy::LogitsView view = result.logits.view();
  const StoppedAnswers replayed = replay(view, chosen.policy);
  PolicyEvaluation policy;
  policy.chosen = chosen;
  policy.against = policy::harm_reference(chosen);
  policy.metrics =
      eval::measure_policy({result.logits.labels, stopped.exit_index, stopped.answers,
                            policy::reference_answers(chosen.policy, view, policy.against)},
                           result.cost.relative_costs());
  for (std::size_t i = 0; i < stopped.answers.size(); ++i)
    policy.replay_differs += stopped.exit_index[i] != replayed.exit_index[i] ||
                             stopped.answers[i] != replayed.answers[i];
  policy.answers = stopped.answers;
  policy.is_models_own = !context.options.policy.threshold;
  policy.drift = drift_of(chosen, policy.metrics.shares, result.metrics.images);
  policy.guarantee = context.model->certificate().guarantee();
  policy.certificate = certificate_of_run(context.options.policy, *context.model, policy.drift,
                                          result.metrics.images);
  return policy;
}

/// Another model, with the same images loaded at the size that it expects.
class OtherModel {
 public:
  OtherModel(const std::filesystem::path& path, const EvaluationContext& context)
      : model_(open_model(path, context.options.run, context.progress)),
        progress_(context.progress),
        set_(context.set) {
    const core::Preprocessing &ours = *set_.preprocessing, &theirs = model_->file().preprocessing;
    if (ours.height != theirs.height || ours.width != theirs.width || ours.fit != theirs.fit) {
      again_ = data::load_data(context.options.data, part_of_data(context.options.part),
                               load_options(model_->file()));
      if (again_.dataset.hashes != context.loaded.dataset.hashes)
        throw Error(
            fmt::format("{}: the images changed while they were read", context.options.data));
      set_.data = &again_.dataset;
    }
    set_.preprocessing = &theirs;
    try {
      check_same_classes(model_->file(), *set_.data);
    } catch (const Error& error) {
      core::throw_with_place(path.string(), error);
    }
    refuse_trained_images(path, model_->file(), *set_.data, set_.indices);
    count_shown_certify_images(
        path, model_->file(),
        {set_.data, &set_.indices, context.loaded.source, context.options.command}, progress_);
  }
  OtherModel(const OtherModel&) = delete;

  const engine::OpenedModel& model() const { return *model_; }
  StoppedAnswers run(const policy::Policy& policy) {
    return run_with_policy(*model_, set_, policy, progress_);
  }

 private:
  std::shared_ptr<engine::OpenedModel> model_;
  const Progress& progress_;
  data::LoadedData again_;
  EvaluationSet set_;
};

OtherNetwork run_other(const std::filesystem::path& path, const EvaluationContext& context) {
  OtherModel model(path, context);
  OtherNetwork other;
  other.name = path.string();
  other.cost = model.model().cost();
  other.last = model.run(policy::never_stop(static_cast<int>(other.cost.exit_macs.size()))).answers;
  if (const auto& chosen = model.model().file().policy) other.stopped = model.run(chosen->policy);
  return other;
}

/// Adds the baselines that the policy is compared with; without a policy, the last exit is.
void add_baselines(const EvaluationContext& context, Evaluation& result) {
  const policy::LogitsView view = result.logits.view();
  const std::vector<std::int64_t> answers =
      result.policy ? result.policy->answers : last_exit_answers(view);
  if (result.policy)
    result.controls = own_baselines(view, result.cost, answers, result.policy->metrics);
  for (const std::filesystem::path& path : context.options.compare)
    for (report::ReportBaseline& control : network_baselines(
             run_other(path, context), result.cost.plain_macs, result.logits.labels, answers))
      result.controls.push_back(std::move(control));
}

/// Computes the curves of all criteria, with thresholds chosen on the model's tune images.
Sweep run_sweep(const EvaluationContext& context, const Evaluation& result) {
  const EvaluateOptions& options = context.options;
  if (result.logits.exits < 2)
    throw Error(fmt::format("{}: the model has no early exit, so there is no threshold to sweep",
                            options.model.string()));
  const bool test = options.part == ImagePart::test;
  const data::LoadedData train =
      test ? data::load_data(options.data, data::Part::train, load_options(context.file()))
           : data::LoadedData{};
  const data::Dataset& data = test ? train.dataset : context.loaded.dataset;
  const std::vector<std::int64_t> indices =
      find_listed_images(options.model, context.file(), data, context.file().provenance.data.tune,
                         "tune", options.data)
          .indices;
  const eval::SavedLogits tune = run_all_exits(
      *context.model, {&data, indices, &context.file().preprocessing, options.run.images_at_once()},
      context.progress);
  return sweep_all(tune.view(), result.logits.view(), result.cost.relative_costs());
}

void write_logits(const EvaluationContext& context, Evaluation& result) {
  result.logits.metadata = {{"model", context.options.model.string()},
                            {"data", result.source},
                            {"part", std::string(to_string(context.options.part))},
                            {"commit", core::kCommit},
                            {"precision", result.precision},
                            {"kernels", result.kernels},
                            {"certified_hash", context.model->certified_hash()}};
  eval::save_logits(context.options.save_logits, result.logits);
}

}  // namespace

std::string_view to_string(ImagePart part) {
  switch (part) {
    case ImagePart::test:
      return "test";
    case ImagePart::tune:
      return "tune";
    case ImagePart::certify:
      return "certify";
  }
  return "";
}

ImagePart image_part_from_string(std::string_view word) {
  for (const ImagePart part : {ImagePart::test, ImagePart::tune, ImagePart::certify})
    if (word == to_string(part)) return part;
  throw UsageError(fmt::format("part: expected test, tune or certify, got {}", core::quote(word)));
}

std::vector<std::filesystem::path> EvaluateOptions::inputs() const {
  std::vector<std::filesystem::path> files = compare;
  files.insert(files.end(), {model, data});
  return files;
}

Evaluation evaluate(const EvaluateOptions& options, const Progress& progress) {
  check(options.policy);
  if (!options.save_logits.empty())
    check_output("save_logits", options.save_logits, options.inputs());
  EvaluationContext context{
      options, progress, open_model(options.model, options.run, progress), {}, {}};
  context.loaded =
      data::load_data(options.data, part_of_data(options.part), load_options(context.file()));
  const data::LoadedData& loaded = context.loaded;
  remark_skipped(loaded, progress);
  context.set = {&loaded.dataset, choose_images(context), &context.file().preprocessing,
                 options.run.images_at_once()};
  const auto images = static_cast<std::int64_t>(context.set.indices.size());
  if (options.part == ImagePart::test) {
    if (const std::int64_t left_out = loaded.dataset.size() - images; left_out > 0)
      progress.remark(fmt::format("left out {} images that the model was trained on", left_out));
    log_test_read(options.model, {options.command, loaded.source, images}, progress);
  }

  count_shown_certify_images(
      options.model, context.file(),
      {&loaded.dataset, &context.set.indices, loaded.source, options.command}, progress);

  Evaluation result;
  result.source = loaded.source;
  result.precision = to_string(context.model->precision());
  result.kernels = context.model->kernels();
  result.classes = context.file().classes;
  result.cost = context.model->cost();
  result.logits = run_all_exits(*context.model, context.set, progress);
  if (!options.save_logits.empty()) write_logits(context, result);
  const policy::LogitsView view = result.logits.view();
  result.metrics = eval::measure(view, context.file().loss_weights);
  result.overthinking = eval::overthinking_by_class(view);
  for (int k = 0; k < view.exits; ++k) {
    result.exit_units.push_back(unit_before_exit(context.file().graph, k));
    if (options.confusion) result.confusion.push_back(eval::confusion_matrix(view, k));
  }
  if (const auto chosen = policy_for(options.policy, context.file()))
    result.policy = run_policy(context, result, *chosen);
  add_baselines(context, result);
  if (options.sweep) result.sweep = run_sweep(context, result);
  return result;
}

}  // namespace offramp::workflow
