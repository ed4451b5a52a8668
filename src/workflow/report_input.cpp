#include "workflow/report_input.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "core/system.h"
#include "core/text.h"
#include "core/version.h"
#include "eval/sweep.h"
#include "graph/cost.h"
#include "policy/calibration.h"
#include "policy/criteria.h"
#include "recipe/recipe.h"
#include "workflow/baselines.h"
#include "workflow/certificate_count.h"
#include "workflow/evaluate.h"
#include "workflow/logits_cache.h"
#include "workflow/policy_choice.h"
#include "workflow/provenance.h"
#include "workflow/report_speed.h"
#include "workflow/run_folder.h"

namespace offramp::workflow {
namespace {

constexpr int kCurvePoints = 200;  // number of thresholds of each curve

/// The epochs of a run, as the report shows them.
report::Training training_of(const FoundRun& run) {
  report::Training training;
  training.name = run.name;
  for (EpochReport& epoch : RunFolder(run.folder).epochs())
    training.epochs.push_back(
        {epoch.epoch, epoch.loss, std::move(epoch.train_accuracy), std::move(epoch.tune_accuracy)});
  return training;
}

/// Facts about the model's training and about this machine: names and values for people.
std::vector<std::pair<std::string, std::string>> facts_of(const model::ModelFile& model) {
  const graph::Cost cost = graph::cost_of(model.graph);
  const model::DataProvenance& data = model.provenance.data;
  std::vector<std::pair<std::string, std::string>> facts = {
      {"network", model.graph.name},
      {"parameters", core::with_commas(cost.total_parameters())},
      {"MACs of the plain network", core::with_commas(cost.plain_macs)},
      {"trained on",
       fmt::format("{} images{}{}", core::with_commas(static_cast<std::int64_t>(data.train.size())),
                   data.source.empty() ? "" : " of ", data.source)},
      {"tune part, to choose",
       fmt::format("{} images", core::with_commas(static_cast<std::int64_t>(data.tune.size())))},
      {"certify part, for guarantees",
       fmt::format("{} images",
                   core::with_commas(static_cast<std::int64_t>(data.certify.size())))}};
  const TrainingDetails details = training_details(model);
  const auto add = [&](const char* key, const std::string& text) {
    if (!text.empty()) facts.emplace_back(fmt::format("training: {}", key), text);
  };
  const auto add_number = [&](const char* key, const auto& value) {
    if (value) add(key, fmt::format("{}", *value));
  };
  add_number("seed", details.seed);
  add_number("epoch", details.epoch);
  add_number("step", details.step);
  add("precision", details.precision);
  add("device", details.device);
  add_number("threads", details.threads);
  add("commit", details.commit);
  if (details.seconds) add("time", core::duration_text(*details.seconds));
  facts.emplace_back("report written by",
                     fmt::format("offramp {} ({})", core::kVersion, core::kCommit));
  facts.emplace_back("machine",
                     fmt::format("{}, {} threads", core::cpu_name(), core::usable_cores()));
  return facts;
}

/// A run with its model, the test images at the size that the model expects, and their logits.
class TestedRun {
 public:
  /// @param data  source of the images; empty: the one in the run's recipe
  TestedRun(const std::string& path, const std::string& data, const ReportOptions& options,
            const Progress& progress)
      : run(find_run(path)),
        model(open_model(run.model, options.run, progress)),
        source(data.empty() ? source_of_run() : data) {
    loaded = data::load_data(source, data::Part::test, load_options(file()));
    indices = images_to_test(run.model, file(), loaded, options.skip_trained);
    log_test_read(
        run.model,
        {options.command + " " + path, loaded.source, static_cast<std::int64_t>(indices.size())},
        progress);
    count_shown_certify_images(
        run.model, file(), {&loaded.dataset, &indices, loaded.source, options.command + " " + path},
        progress);
    cached = find_or_compute_logits(run.model, *model, set_of(loaded.dataset, indices, options),
                                    "test", progress);
  }
  TestedRun(const TestedRun&) = delete;

  const model::ModelFile& file() const { return model->file(); }
  policy::LogitsView view() const { return cached.logits.view(); }
  EvaluationSet set_of(const data::Dataset& data, const std::vector<std::int64_t>& images,
                       const ReportOptions& options) const {
    return {&data, images, &file().preprocessing, options.run.images_at_once()};
  }

  FoundRun run;
  std::shared_ptr<engine::OpenedModel> model;
  std::string source;
  data::LoadedData loaded;
  std::vector<std::int64_t> indices;  ///< indices of the tested images
  CachedLogits cached;

 private:
  std::string source_of_run() const {
    const std::string text = recipe_text(run, file());
    if (text.empty())
      throw UsageError(
          fmt::format("data: {} does not name the source of its images, so it must be given",
                      run.model.string()));
    return recipe::parse_recipe(text, run.model.string()).data.source;
  }
};

report::ReportPolicy policy_of(const TestedRun& tested) {
  const policy::LogitsView view = tested.view();
  report::ReportPolicy policy;
  policy.policy = policy::never_stop(view.exits);
  const auto chosen = policy_for({}, tested.file());
  if (chosen) {
    policy.policy = chosen->policy;
    policy.aim = policy::describe_aim(chosen->aim);
    if (const auto& given = tested.model->certificate().guarantee())
      policy.guarantee = fmt::format(
          "{}{} ≤ {:g} %{} with probability ≥ {:g} % on images like these, certified on {} other "
          "images in {}",
          given->of,
          policy.policy.ensemble == policy::Ensemble::off
              ? ""
              : fmt::format(" against {}", describe(given->against)),
          100 * given->epsilon,
          given->disagreement ? fmt::format(" and answers other than the reference's ≤ {:.3g} %",
                                            100 * given->disagreement->upper_bound)
                              : "",
          100 * (1 - given->delta), core::with_commas(given->images), given->precision);
  }
  policy.executed = chosen && tested.cached.stopped;
  const StoppedAnswers stopped =
      policy.executed ? *tested.cached.stopped : replay(view, policy.policy);
  policy.exit_index = stopped.exit_index;
  policy.answers = stopped.answers;
  const std::vector<std::int64_t> labels(view.labels.begin(), view.labels.end());
  policy.metrics =
      eval::measure_policy({labels, policy.exit_index, policy.answers, last_exit_answers(view)},
                           tested.model->relative_costs());
  if (chosen && chosen->guarantee) {
    const auto images = static_cast<std::int64_t>(labels.size());
    const engine::CertificateStatus status = certificate_of_run(
        {}, *tested.model, drift_of(*chosen, policy.metrics.shares, images), images);
    policy.guarantee_in_force = status.in_force == InForce::yes;
    policy.guarantee_status = engine::describe(status);
  }
  return policy;
}

/// Adds a curve of accuracy against cost for every criterion, with thresholds chosen on the model's
/// tune images, or the reason why there are no curves.
void add_curves(const TestedRun& tested, const ReportOptions& options, const Progress& progress,
                report::ReportInput& input) {
  if (input.test.exits < 2) {
    input.no_curves = "The network has no early exit.";
    return;
  }
  const model::ModelFile& model = tested.file();
  const data::LoadedData train =
      data::load_data(tested.source, data::Part::train, load_options(model));
  const std::vector<std::int64_t> indices =
      indices_of_listed(train.dataset, model.provenance.data.tune);
  if (indices.empty()) {
    input.no_curves =
        "The data contain none of the model's tune images, on which thresholds are chosen.";
    return;
  }
  refuse_trained_images(tested.run.model, model, train.dataset, indices);
  const eval::SavedLogits tune =
      find_or_compute_logits(tested.run.model, *tested.model,
                             tested.set_of(train.dataset, indices, options), "tune", progress)
          .logits;
  const std::vector<policy::Criterion> criteria = policy::all_criteria();
  const policy::Policy shape = policy::fit_policy(
      {policy::Criterion::confidence, input.policy.policy.ensemble}, tune.view());
  const auto thresholds = eval::sweep_thresholds(shape, criteria, tune.view(), kCurvePoints);
  input.curves = eval::sweep(shape, criteria, thresholds, input.test, input.costs);
}

/// Gives each exit the one cost that all parts of the page show: that of an image which stops there
/// in this network, with all heads on the way.
void use_costs_of_this_network(report::ReportInput& input) {
  std::size_t k = 0;
  for (report::ReportBaseline& control : input.controls) {
    if (control.kind != report::ReportBaseline::Kind::exit) continue;
    control.name = fmt::format("exit {} for all images", k + 1);
    control.control.relative_cost = input.costs[k++];
  }
}

void add_speed(const TestedRun& tested, const ReportOptions& options, report::ReportInput& input) {
  const TimedPolicy last = {"to the last exit", policy::never_stop(input.test.exits),
                            input.costs.back()};
  std::vector<TimedPolicy> policies = {last};
  if (!input.policy.aim.empty() && input.test.exits > 1)
    policies.insert(policies.begin(),
                    {"by the policy", input.policy.policy, input.policy.metrics.relative_cost});
  input.speed = measure_speed(
      *tested.model, tested.set_of(tested.loaded.dataset, tested.indices, options), policies);
  input.speed_setup = fmt::format(
      "Measured while this report was written, on {} with {} {}, in {}, on some of the test "
      "images.",
      core::cpu_name(), tested.model->threads(),
      tested.model->threads() == 1 ? "thread" : "threads", to_string(tested.model->precision()));
}

void add_other(const std::string& path, const ReportOptions& options, const TestedRun& tested,
               const Progress& progress, report::ReportInput& input) {
  const TestedRun other(path, tested.source, options, progress);
  if (other.loaded.dataset.hashes != tested.loaded.dataset.hashes ||
      other.indices != tested.indices)
    throw Error(fmt::format("{} and {} cannot be tested on the same images of {}", path,
                            tested.run.name, tested.source));
  OtherNetwork network;
  network.name = other.run.name;
  network.cost = other.model->cost();
  network.last = last_exit_answers(other.view());
  if (const auto& chosen = other.file().policy)
    network.stopped =
        other.cached.stopped ? other.cached.stopped : replay(other.view(), chosen->policy);
  for (report::ReportBaseline& control : network_baselines(network, tested.model->cost().plain_macs,
                                                           input.test.labels, input.policy.answers))
    input.controls.push_back(std::move(control));
  if (report::Training training = training_of(other.run); !training.epochs.empty())
    input.trainings.push_back(std::move(training));
}

report::ReportInput input_of(const std::shared_ptr<const TestedRun>& tested,
                             const ReportOptions& options, const Progress& progress) {
  report::ReportInput input;
  input.title = tested->run.name;
  input.data = tested->loaded.source;
  input.classes = tested->file().classes;
  input.test = tested->view();
  for (int k = 0; k < input.test.exits; ++k)
    input.exit_units.push_back(unit_before_exit(tested->file().graph, k));
  input.costs = tested->model->relative_costs();
  input.metrics = eval::measure(input.test, tested->file().loss_weights);
  input.policy = policy_of(*tested);
  if (input.test.exits > 1) {
    input.controls = own_baselines(input.test, tested->model->cost(), input.policy.answers,
                                   input.policy.metrics);
    use_costs_of_this_network(input);
  }
  add_speed(*tested, options, input);
  add_curves(*tested, options, progress, input);
  if (report::Training training = training_of(tested->run); !training.epochs.empty())
    input.trainings.push_back(std::move(training));
  for (std::size_t i = 1; i < options.runs.size(); ++i)
    add_other(options.runs[i], options, *tested, progress, input);
  for (const std::int64_t i : tested->indices)
    input.names.push_back(tested->loaded.dataset.names[static_cast<std::size_t>(i)]);
  input.image = [tested](std::int64_t i) {
    const data::Dataset& images = tested->loaded.dataset;
    const auto pixels = images.image(tested->indices[static_cast<std::size_t>(i)]);
    return image::Image{images.width, images.height, {pixels.begin(), pixels.end()}};
  };
  input.facts = facts_of(tested->file());
  input.facts.emplace_back("precision of this report", to_string(tested->model->precision()));
  input.facts.emplace_back("kernels of this report", tested->model->kernels());
  // A person who can write this file can change the figures of the report, so the report names it.
  const std::filesystem::path& saved = tested->cached.read_from;
  input.facts.emplace_back(
      "logits", saved.empty() ? "computed for this report"
                              : fmt::format("read from {}, which an earlier report of the same "
                                            "model and images saved",
                                            saved.filename().string()));
  input.recipe = recipe_text(tested->run, tested->file());
  return input;
}

}  // namespace

std::filesystem::path report_path(const std::string& run) {
  return RunFolder(find_run(run).folder).report();
}

GatheredReport gather_report(const ReportOptions& options, const Progress& progress) {
  if (options.runs.empty()) throw UsageError("runs: expected at least one");
  const auto tested =
      std::make_shared<const TestedRun>(options.runs.front(), options.data, options, progress);
  return {tested->source, tested, input_of(tested, options, progress)};
}

}  // namespace offramp::workflow
