#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "cli/command.h"
#include "cli/controls.h"
#include "cli/engine.h"
#include "cli/evaluate.h"
#include "cli/evidence.h"
#include "cli/sweep_file.h"
#include "cli/terminal.h"
#include "cli/test_output.h"
#include "core/error.h"
#include "core/file.h"
#include "core/version.h"

namespace offramp::cli {
namespace {

std::vector<std::int64_t> every_index(const Dataset& data) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

std::vector<std::int64_t> indices_of_part(const TestFlags& flags, const ModelFile& model,
                                          const Dataset& data) {
  const DataProvenance& provenance = model.provenance.data;
  if (flags.part == "test") {
    const std::vector<std::int64_t> all = every_index(data);
    if (flags.skip_trained) return without_trained_images(model, data, all);
    refuse_trained_images(model, data, all);
    return all;
  }
  const auto& hashes = flags.part == "tune" ? provenance.tune : provenance.certify;
  if (hashes.empty())
    throw Error("the model does not say which images are its {} part", flags.part);
  return images_listed(data, hashes);
}

std::vector<std::int64_t> choose_images(const TestFlags& flags, const ModelFile& model,
                                        const LoadedData& loaded) {
  try {
    check_same_classes(model, loaded.dataset);
    std::vector<std::int64_t> indices = indices_of_part(flags, model, loaded.dataset);
    if (indices.empty())
      throw Error("{} holds no image of the model's {} part", flags.data, flags.part);
    return indices;
  } catch (const Error& error) {
    throw_with_place(flags.model, error);
  }
}

void report_skipped(const LoadedData& loaded) {
  if (loaded.skipped.empty()) return;
  const SkippedImage& first = loaded.skipped.front();
  tell(fmt::format("skipped {} damaged images, the first is {}: {}\n", loaded.skipped.size(),
                   printable(first.name), printable(first.reason)));
}

void log_read(const TestFlags& flags, const LoadedData& loaded, std::size_t images) {
  std::string command = fmt::format("offramp test {} --data {}", flags.model, flags.data);
  if (flags.policy.threshold)
    command += fmt::format(" --threshold {} --criterion {}", *flags.policy.threshold,
                           flags.policy.criterion);
  try {
    log_test_read(flags.model, {command, loaded.source, static_cast<std::int64_t>(images)});
  } catch (const Error& error) {
    tell(fmt::format("this reading of the test images is not on record: {}\n", error.what()));
  }
}

PolicyResult run_policy(Predictor& predictor, const EvaluationSet& set, const TestResult& result,
                        const ChosenPolicy& chosen) {
  const StoppedAnswers stopped = run_until(predictor, set, chosen.policy);
  const LogitsView view = result.logits.view();
  const StoppedAnswers replayed = replay(view, chosen.policy);
  PolicyResult policy;
  policy.chosen = chosen;
  policy.metrics = measure_policy({result.logits.labels, stopped.exit_index, stopped.answers,
                                   last_answers(view, chosen.policy)},
                                  result.cost.relative_costs());
  for (std::size_t i = 0; i < stopped.answers.size(); ++i)
    policy.replay_differs += stopped.exit_index[i] != replayed.exit_index[i] ||
                             stopped.answers[i] != replayed.answers[i];
  policy.answers = stopped.answers;
  return policy;
}

/// The test images again, as another model takes them.
class OtherModel {
 public:
  OtherModel(const std::string& path, const TestFlags& flags, const LoadedData& loaded,
             const EvaluationSet& set)
      : model_(load_model(path)), predictor_(open_engine(model_, flags.engine)), set_(set) {
    const Preprocessing &ours = *set.preprocessing, &theirs = model_.preprocessing;
    if (ours.height != theirs.height || ours.width != theirs.width || ours.fit != theirs.fit) {
      again_ = load_data(flags.data, flags.part == "test" ? Part::test : Part::train,
                         load_options(model_));
      if (again_.dataset.hashes != loaded.dataset.hashes)
        throw Error("{}: the images changed while they were read", flags.data);
      set_.data = &again_.dataset;
    }
    set_.preprocessing = &model_.preprocessing;
    try {
      check_same_classes(model_, *set_.data);
      refuse_trained_images(model_, *set_.data, set_.indices);
    } catch (const Error& error) {
      throw_with_place(path, error);
    }
  }
  OtherModel(const OtherModel&) = delete;

  const ModelFile& model() const { return model_; }
  StoppedAnswers run(const Policy& policy) { return run_until(*predictor_, set_, policy); }

 private:
  ModelFile model_;
  std::unique_ptr<Predictor> predictor_;
  LoadedData again_;
  EvaluationSet set_;
};

void compare_with(const std::string& path, const TestFlags& flags, const LoadedData& loaded,
                  const EvaluationSet& set, const std::vector<std::int64_t>& subject,
                  TestResult& result) {
  OtherModel model(path, flags, loaded, set);
  OtherNetwork other;
  other.name = path;
  other.cost = cost_of(model.model().graph);
  other.last = model.run(never_stop(static_cast<int>(other.cost.exit_macs.size()))).answers;
  if (const auto& chosen = model.model().policy) other.stopped = model.run(chosen->policy);
  for (ReportControl& control :
       network_controls(other, result.cost.plain_macs, result.logits.labels, subject))
    result.controls.push_back(std::move(control));
}

/// What the policy, or without one the last exit, is held against.
void add_controls(const TestFlags& flags, const LoadedData& loaded, const EvaluationSet& set,
                  TestResult& result) {
  const LogitsView view = result.logits.view();
  const std::vector<std::int64_t> subject =
      result.policy ? result.policy->answers : last_answers(view, never_stop(view.exits));
  if (result.policy)
    result.controls = own_controls(view, result.cost, subject, result.policy->metrics);
  for (const std::string& path : flags.compare)
    compare_with(path, flags, loaded, set, subject, result);
}

/// The thresholds of a sweep are chosen on the model's tune images.
void run_sweep(const TestFlags& flags, const ModelFile& model, Predictor& predictor,
               const LoadedData& loaded, const TestResult& result) {
  if (result.logits.exits < 2) throw Error("{}: has no early exit to sweep over", flags.model);
  const auto& hashes = model.provenance.data.tune;
  if (hashes.empty())
    throw Error("{}: the model does not say which images are its tune part", flags.model);
  const bool test = flags.part == "test";
  const LoadedData train =
      test ? load_data(flags.data, Part::train, load_options(model)) : LoadedData{};
  const Dataset& data = test ? train.dataset : loaded.dataset;
  const EvaluationSet set{&data, images_listed(data, hashes), &model.preprocessing,
                          flags.engine.batch > 0 ? flags.engine.batch : kEvaluationBatch};
  if (set.indices.empty()) throw Error("{}: holds no image of the model's tune part", flags.data);
  refuse_trained_images(model, data, set.indices);
  const SavedLogits tune = run_all_exits(predictor, set);
  write_sweeps(flags.sweep, {flags.model, loaded.source, flags.part}, tune.view(),
               result.logits.view(), result.cost.relative_costs());
}

int run(const TestFlags& flags) {
  check(flags.policy);
  check_sweep_names(flags.sweep);
  for (const std::string& out : flags.sweep) check_writable(out);
  if (!flags.save_logits.empty()) check_writable(flags.save_logits);
  const ModelFile model = load_model(flags.model);
  const auto predictor = open_engine(model, flags.engine);

  const Part part = flags.part == "test" ? Part::test : Part::train;
  const LoadedData loaded = load_data(flags.data, part, load_options(model));
  report_skipped(loaded);
  EvaluationSet set{&loaded.dataset, choose_images(flags, model, loaded), &model.preprocessing,
                    flags.engine.batch > 0 ? flags.engine.batch : kEvaluationBatch};
  const auto left_out = loaded.dataset.size() - static_cast<std::int64_t>(set.indices.size());
  if (part == Part::test && left_out > 0)
    tell(fmt::format("left out {} images that the model was trained on\n", left_out));
  if (part == Part::test) log_read(flags, loaded, set.indices.size());

  TestResult result;
  result.engine = engine_for(model, flags.engine);
  result.cost = cost_of(model.graph);
  result.logits = run_all_exits(*predictor, set);
  if (!flags.save_logits.empty()) {
    result.logits.metadata = {{"model", flags.model},
                              {"data", loaded.source},
                              {"part", flags.part},
                              {"commit", kCommit},
                              {"precision", result.engine.precision},
                              {"kernels", result.engine.kernels}};
    save_logits(flags.save_logits, result.logits);
  }
  result.metrics = measure(result.logits.view(), model.loss_weights);
  if (const auto chosen = policy_of(flags.policy, model, result.engine)) {
    result.policy = run_policy(*predictor, set, result, *chosen);
    result.policy->of_model = !flags.policy.threshold;
    result.policy->certificate_lost =
        result.policy->of_model && model.policy->guarantee && !chosen->guarantee;
    result.policy->drift = drift_of(*chosen, result.policy->metrics.shares, result.metrics.images);
  }
  add_controls(flags, loaded, set, result);
  if (!flags.sweep.empty()) run_sweep(flags, model, *predictor, loaded, result);
  write_out(flags.json ? to_json_text(flags, model, result)
                       : to_text(flags, model, result, loaded.source, may_color(stdout)));
  return 0;
}

}  // namespace

void add_test_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<TestFlags>();
  CLI::App* command =
      app.add_subcommand("test", "Measure every exit of a model on labelled images");
  command->add_option("model", flags->model, "Model file")->required();
  command
      ->add_option("--data", flags->data,
                   "Images: CIFAR or IDX (MNIST) files, image folder, packed file, synthetic")
      ->required();
  command->add_option("--part", flags->part, "test, or the model's own tune or certify images")
      ->check(CLI::IsMember({"test", "tune", "certify"}))
      ->capture_default_str();
  add_policy_flags(*command, flags->policy);
  command->add_option("--compare", flags->compare,
                      "Other models to hold it against: a plain, a narrower, a truncated one");
  command->add_option("--sweep", flags->sweep,
                      "Write accuracy against cost for every criterion and ensemble, thresholds "
                      "chosen on tune, to a .json or .csv file (replayed)");
  command->add_flag("--confusion", flags->confusion,
                    "Also give the confusion matrix of every exit");
  command->add_option("--save-logits", flags->save_logits,
                      "Keep logits of all exits and labels in a safetensors file");
  command->add_flag("--skip-trained", flags->skip_trained,
                    "Leave out images that the model was trained on instead of refusing");
  command->add_flag("--json", flags->json, "Print JSON");
  add_engine_flags(*command, flags->engine);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
