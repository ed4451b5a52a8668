#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "cli/controls.h"
#include "cli/engine.h"
#include "cli/evaluate.h"
#include "cli/evidence.h"
#include "cli/kept_logits.h"
#include "cli/policy_flags.h"
#include "cli/run_files.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "policy/calibration.h"
#include "policy/criteria.h"
#include "recipe/recipe.h"
#include "report/report.h"

namespace offramp::cli {
namespace {

constexpr int kCurvePoints = 200;

struct Flags {
  std::vector<std::string> runs;
  std::string out, data;
  bool skip_trained = false;
  EngineFlags engine;
};

/// A run, its model, and the test images as it takes them with their logits.
struct Subject {
  Subject(const std::string& path, const Flags& flags)
      : run(find_run(path)), model(load_model(run.model)), cost(cost_of(model.graph)) {
    source = flags.data.empty() ? source_of_run() : flags.data;
    loaded = load_data(source, Part::test, load_options(model));
    try {
      check_same_classes(model, loaded.dataset);
      indices.resize(static_cast<std::size_t>(loaded.dataset.size()));
      std::iota(indices.begin(), indices.end(), 0);
      if (flags.skip_trained) indices = without_trained_images(model, loaded.dataset, indices);
      refuse_trained_images(model, loaded.dataset, indices);
    } catch (const Error& error) {
      throw_with_place(run.model.string(), error);
    }
    if (indices.empty()) throw Error("{}: holds no image that is not trained on", source);
    log_read(path);
    kept =
        logits_of(run.model, model, {&loaded.dataset, indices, &model.preprocessing, batch(flags)},
                  "test", flags.engine);
  }
  Subject(const Subject&) = delete;

  static int batch(const Flags& flags) {
    return flags.engine.batch > 0 ? flags.engine.batch : kEvaluationBatch;
  }

  std::string source_of_run() const {
    const std::string text = recipe_of(run, model);
    if (text.empty())
      throw UsageError("--data: {} does not say where its images are", run.model.string());
    return parse_recipe(text, run.model.string()).data.source;
  }

  void log_read(const std::string& path) const {
    try {
      log_test_read(run.model, {"offramp report " + path, loaded.source,
                                static_cast<std::int64_t>(indices.size())});
    } catch (const Error& error) {
      tell(fmt::format("this reading of the test images is not on record: {}\n", error.what()));
    }
  }

  LogitsView view() const { return kept.logits.view(); }

  RunFiles run;
  ModelFile model;
  Cost cost;
  std::string source;
  LoadedData loaded;
  std::vector<std::int64_t> indices;  ///< of the images tested
  KeptLogits kept;
};

ReportPolicy policy_of_subject(const Subject& subject, const Flags& flags) {
  const LogitsView view = subject.view();
  ReportPolicy policy;
  policy.policy = never_stop(view.exits);
  const auto chosen =
      policy_of(PolicyFlags{}, subject.model, engine_for(subject.model, flags.engine));
  if (chosen) {
    policy.policy = chosen->policy;
    policy.aim = describe_aim(chosen->aim);
    if (const auto& given = chosen->guarantee)
      policy.guarantee =
          fmt::format("{} on images like these, certified on {} others at {}", describe(*given),
                      with_commas(given->images), given->precision);
  }
  policy.executed = chosen && subject.kept.stopped;
  const StoppedAnswers stopped =
      policy.executed ? *subject.kept.stopped : replay(view, policy.policy);
  policy.exit_index = stopped.exit_index;
  policy.answers = stopped.answers;
  const std::vector<std::int64_t> labels(view.labels.begin(), view.labels.end());
  policy.metrics =
      measure_policy({labels, policy.exit_index, policy.answers, last_answers(view, policy.policy)},
                     subject.cost.relative_costs());
  return policy;
}

/// Accuracy against cost for every criterion, thresholds chosen on the model's tune images; or why
/// there is none.
void add_curves(const Subject& subject, const Flags& flags, ReportInput& input) {
  if (input.test.exits < 2) {
    input.no_curves = "The network has no early exit.";
    return;
  }
  const ModelFile& model = subject.model;
  const LoadedData train = load_data(subject.source, Part::train, load_options(model));
  const EvaluationSet set{&train.dataset, images_listed(train.dataset, model.provenance.data.tune),
                          &model.preprocessing, Subject::batch(flags)};
  if (set.indices.empty()) {
    input.no_curves = "The data hold none of the model's tune images to choose thresholds on.";
    return;
  }
  refuse_trained_images(model, train.dataset, set.indices, "");
  const SavedLogits tune = logits_of(subject.run.model, model, set, "tune", flags.engine).logits;
  const Policy shape =
      fit_policy({Criterion::confidence, input.policy.policy.ensemble}, tune.view());
  const std::vector<Criterion> criteria = all_criteria();
  const auto thresholds = sweep_thresholds(shape, criteria, tune.view(), kCurvePoints);
  input.curves = sweep(shape, criteria, thresholds, input.test, input.costs);
}

void add_other(const std::string& path, const Flags& flags, const Subject& subject,
               ReportInput& input) {
  Flags same_data = flags;
  same_data.data = subject.source;
  const Subject other(path, same_data);
  if (other.loaded.dataset.hashes != subject.loaded.dataset.hashes ||
      other.indices != subject.indices)
    throw Error("{} and {} cannot be tested on the same images of {}", path, subject.run.name,
                subject.source);
  OtherNetwork network;
  network.name = other.run.name;
  network.cost = other.cost;
  network.last = last_answers(other.view(), never_stop(other.view().exits));
  if (other.model.policy)
    network.stopped =
        other.kept.stopped ? other.kept.stopped : replay(other.view(), other.model.policy->policy);
  for (ReportControl& control :
       network_controls(network, subject.cost.plain_macs, input.test.labels, input.policy.answers))
    input.controls.push_back(std::move(control));
  if (Training training = training_of(other.run); !training.epochs.empty())
    input.trainings.push_back(std::move(training));
}

ReportInput input_of(const Subject& subject, const Flags& flags) {
  ReportInput input;
  input.title = subject.run.name;
  input.data = subject.loaded.source;
  input.classes = subject.model.classes;
  input.test = subject.view();
  for (int k = 0; k < input.test.exits; ++k)
    input.places.push_back(exit_place(subject.model.graph, k));
  input.costs = subject.cost.relative_costs();
  input.metrics = measure(input.test, subject.model.loss_weights);
  input.policy = policy_of_subject(subject, flags);
  if (input.test.exits > 1)
    input.controls =
        own_controls(input.test, subject.cost, input.policy.answers, input.policy.metrics);
  add_curves(subject, flags, input);
  if (Training training = training_of(subject.run); !training.epochs.empty())
    input.trainings.push_back(std::move(training));
  for (std::size_t i = 1; i < flags.runs.size(); ++i)
    add_other(flags.runs[i], flags, subject, input);
  const Dataset& images = subject.loaded.dataset;
  for (const std::int64_t i : subject.indices)
    input.names.push_back(images.names[static_cast<std::size_t>(i)]);
  input.image = [&](std::int64_t i) {
    const auto pixels = images.image(subject.indices[static_cast<std::size_t>(i)]);
    return Image{images.width, images.height, {pixels.begin(), pixels.end()}};
  };
  input.facts = facts_of(subject.model);
  const Engine engine = engine_for(subject.model, flags.engine);
  input.facts.emplace_back("precision of this report", engine.precision);
  input.facts.emplace_back("kernels of this report", engine.kernels);
  input.recipe = recipe_of(subject.run, subject.model);
  return input;
}

int run(const Flags& flags) {
  const auto start = std::chrono::steady_clock::now();
  const std::string out = flags.out.empty()
                              ? (find_run(flags.runs.front()).folder / "report.html").string()
                              : flags.out;
  check_writable(out);
  const Subject subject(flags.runs.front(), flags);
  const ReportInput input = input_of(subject, flags);
  const std::string page = report_html(input);
  write_text_atomic(out, page);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  write_out(fmt::format("{}: {:.1f} MB, in {:.1f} s; open it in a browser\n", printable(out),
                        static_cast<double>(page.size()) / 1e6, time.count()));
  return 0;
}

}  // namespace

void add_report_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "report", "One page that shows what a run has learned, where its images leave, and why");
  command
      ->add_option("runs", flags->runs,
                   "Run folder or model file; further ones are held against the first")
      ->required();
  command->add_option("-o,--out", flags->out, "The page (default: report.html in the run folder)");
  command->add_option("--data", flags->data, "Images (default: those of the run's recipe)");
  command->add_flag("--skip-trained", flags->skip_trained,
                    "Leave out images that the model was trained on instead of refusing");
  add_engine_flags(*command, flags->engine);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
