#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/engine.h"
#include "cli/evaluate.h"
#include "cli/evidence.h"
#include "cli/policy_flags.h"
#include "cli/sweep_file.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/version.h"
#include "eval/controls.h"
#include "eval/metrics.h"
#include "eval/policy_metrics.h"
#include "graph/cost.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;

struct Flags {
  std::string model, data, save_logits, part = "test";
  std::vector<std::string> compare, sweep;
  bool json = false, confusion = false, skip_trained = false;
  PolicyFlags policy;
  EngineFlags engine;
};

/// What a policy did when the network really stopped where it says.
struct PolicyResult {
  ChosenPolicy chosen;
  bool of_model = false;
  PolicyMetrics metrics;
  std::vector<std::int64_t> answers;
  /// Images that leave elsewhere, or with another answer, when saved logits are replayed.
  std::int64_t replay_differs = 0;
};

/// A way to classify the same images, by name.
struct NamedControl {
  std::string name;
  Control control;
};

struct Result {
  SavedLogits logits;
  Metrics metrics;
  Cost cost;
  std::optional<PolicyResult> policy;
  /// Differences are from the policy, or without one from the last exit.
  std::vector<NamedControl> controls;
};

std::vector<std::int64_t> every_index(const Dataset& data) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

std::vector<std::int64_t> indices_of_part(const Flags& flags, const Model& model,
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

std::vector<std::int64_t> choose_images(const Flags& flags, const Model& model,
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

void log_read(const Flags& flags, const LoadedData& loaded, std::size_t images) {
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

/// What exit K names under a policy: with an ensemble, what that of all exits names.
std::vector<std::int64_t> last_answers(const LogitsView& view, const Policy& policy) {
  std::vector<std::int64_t> answers;
  Opinion opinion;
  for (std::int64_t i = 0; i < view.images(); ++i) {
    for (int k = 0; k < view.exits; ++k) listen(policy, k, view.at(k, i), opinion);
    answers.push_back(opinion.answer);
  }
  return answers;
}

std::vector<double> relative_costs(const Cost& cost) {
  std::vector<double> costs;
  for (std::size_t k = 0; k < cost.exit_macs.size(); ++k)
    costs.push_back(cost.relative(static_cast<int>(k)));
  return costs;
}

PolicyResult run_policy(Predictor& predictor, const EvaluationSet& set, const Result& result,
                        const ChosenPolicy& chosen) {
  const StoppedAnswers stopped = run_until(predictor, set, chosen.policy);
  const LogitsView view = result.logits.view();
  const StoppedAnswers replayed = replay(view, chosen.policy);
  PolicyResult policy;
  policy.chosen = chosen;
  policy.metrics = measure_policy({result.logits.labels, stopped.exit_index, stopped.answers,
                                   last_answers(view, chosen.policy)},
                                  relative_costs(result.cost));
  for (std::size_t i = 0; i < stopped.answers.size(); ++i)
    policy.replay_differs += stopped.exit_index[i] != replayed.exit_index[i] ||
                             stopped.answers[i] != replayed.answers[i];
  policy.answers = stopped.answers;
  return policy;
}

/// The test images again, as another model takes them.
class OtherModel {
 public:
  OtherModel(const std::string& path, const Flags& flags, const LoadedData& loaded,
             const EvaluationSet& set)
      : model_(load_model(path)), predictor_(open_engine(model_, flags.engine)), set_(set) {
    const Preprocessing &ours = *set.preprocessing, &theirs = model_.preprocessing;
    if (ours.height != theirs.height || ours.width != theirs.width || ours.fit != theirs.fit) {
      LoadOptions options;
      options.height = theirs.height;
      options.width = theirs.width;
      options.fit = theirs.fit;
      again_ = load_data(flags.data, flags.part == "test" ? Part::test : Part::train, options);
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

  const Model& model() const { return model_; }
  StoppedAnswers run(const Policy& policy) { return run_until(*predictor_, set_, policy); }

 private:
  Model model_;
  std::unique_ptr<Predictor> predictor_;
  LoadedData again_;
  EvaluationSet set_;
};

void compare_with(const std::string& path, const Flags& flags, const LoadedData& loaded,
                  const EvaluationSet& set, const std::vector<std::int64_t>& subject,
                  Result& result) {
  OtherModel other(path, flags, loaded, set);
  const Cost cost = cost_of(other.model().graph);
  const auto relative = [&](std::int64_t macs) {
    return static_cast<double>(macs) / static_cast<double>(result.cost.plain_macs);
  };
  const StoppedAnswers last = other.run(never_stop(static_cast<int>(cost.exit_macs.size())));
  result.controls.push_back(
      {path, control_of(result.logits.labels, subject, last.answers, relative(cost.plain_macs))});
  if (!other.model().policy) return;
  const StoppedAnswers stopped = other.run(other.model().policy->policy);
  double macs = 0;
  for (const int k : stopped.exit_index)
    macs += static_cast<double>(cost.exit_macs[static_cast<std::size_t>(k)]);
  macs /= static_cast<double>(stopped.exit_index.size());
  result.controls.push_back(
      {path + ", its policy", control_of(result.logits.labels, subject, stopped.answers,
                                         macs / static_cast<double>(result.cost.plain_macs))});
}

/// What the policy, or without one the last exit, is held against.
void add_controls(const Flags& flags, const LoadedData& loaded, const EvaluationSet& set,
                  Result& result) {
  const LogitsView view = result.logits.view();
  const std::vector<std::int64_t> subject =
      result.policy ? result.policy->answers : last_answers(view, never_stop(view.exits));
  const auto plain = static_cast<double>(result.cost.plain_macs);
  if (result.policy) {
    const std::vector<double> costs = relative_costs(result.cost);
    for (int k = 0; k < view.exits; ++k) {
      std::vector<std::int64_t> answers;
      for (std::int64_t i = 0; i < view.images(); ++i) answers.push_back(argmax(view.at(k, i)));
      const auto macs = static_cast<double>(result.cost.alone_macs[static_cast<std::size_t>(k)]);
      result.controls.push_back({fmt::format("exit {} alone", k + 1),
                                 control_of(view.labels, subject, answers, macs / plain)});
    }
    result.controls.push_back({"random exits at the policy's rates",
                               random_exits(view, subject, result.policy->metrics.shares, costs)});
    result.controls.push_back({"oracle, which sees the label", oracle(view, subject, costs)});
  }
  for (const std::string& path : flags.compare)
    compare_with(path, flags, loaded, set, subject, result);
}

std::string_view name_of(EnsembleKind kind) {
  switch (kind) {
    case EnsembleKind::mean:
      return "mean";
    case EnsembleKind::geometric:
      return "geometric";
    case EnsembleKind::weighted:
      return "weighted";
  }
  return "";
}

json confusion_json(const Result& result, int exit_index) {
  const auto counts = confusion_matrix(result.logits.view(), exit_index);
  const auto classes = static_cast<std::ptrdiff_t>(result.logits.classes);
  json rows = json::array();
  for (auto row = counts.begin(); row != counts.end(); row += classes)
    rows.push_back(std::vector<std::int64_t>(row, row + classes));
  return rows;
}

json exit_json(const Flags& flags, const Result& result, int exit_index) {
  const ExitMetrics& exit = result.metrics.exits[static_cast<std::size_t>(exit_index)];
  json confident;
  for (std::size_t i = 0; i < kConfidenceLevels.size(); ++i)
    confident[fmt::format("{}", kConfidenceLevels[i])] = exit.confident_and_right[i];
  json object = {{"exit", exit_index + 1},
                 {"accuracy", exit.accuracy},
                 {"accuracy_interval", {exit.accuracy_interval.low, exit.accuracy_interval.high}},
                 {"nll", exit.nll},
                 {"ece", exit.ece},
                 {"macs", result.cost.exit_macs[static_cast<std::size_t>(exit_index)]},
                 {"relative_cost", result.cost.relative(exit_index)},
                 {"confident_and_right", confident}};
  if (flags.confusion) object["confusion"] = confusion_json(result, exit_index);
  return object;
}

json policy_json(const PolicyResult& policy) {
  const PolicyMetrics& metrics = policy.metrics;
  const Policy& rule = policy.chosen.policy;
  json thresholds = json::array();
  for (const auto& threshold : rule.thresholds)
    thresholds.push_back(threshold ? json(*threshold) : json(nullptr));
  json guarantee = nullptr;
  if (const auto& given = policy.chosen.guarantee)
    guarantee = {{"of", given->of}, {"epsilon", given->epsilon}, {"delta", given->delta}};
  return {{"from", policy.of_model ? "model" : "flags"},
          {"aim", policy.chosen.aim},
          {"criterion", to_string(rule.criterion)},
          {"ensemble", to_string(rule.ensemble)},
          {"thresholds", thresholds},
          {"guarantee", guarantee},
          {"accuracy", metrics.accuracy},
          {"accuracy_interval", {metrics.accuracy_interval.low, metrics.accuracy_interval.high}},
          {"relative_cost", metrics.relative_cost},
          {"shares", metrics.shares},
          {"harm", metrics.harm},
          {"help", metrics.help},
          {"executed", true},
          {"replay_differs", policy.replay_differs}};
}

json controls_json(const Result& result) {
  json rows = json::array();
  for (const auto& [name, control] : result.controls) {
    json row = {{"name", name},
                {"accuracy", control.accuracy},
                {"accuracy_interval", nullptr},
                {"relative_cost", control.relative_cost},
                {"difference", control.difference},
                {"difference_interval",
                 {control.difference_interval.low, control.difference_interval.high}}};
    if (const auto& interval = control.accuracy_interval)
      row["accuracy_interval"] = {interval->low, interval->high};
    rows.push_back(std::move(row));
  }
  return rows;
}

void print_json(const Flags& flags, const Result& result) {
  const Metrics& metrics = result.metrics;
  json object = {{"model", flags.model}, {"data", flags.data}, {"images", metrics.images}};
  object["exits"] = json::array();
  for (int k = 0; k < result.logits.exits; ++k)
    object["exits"].push_back(exit_json(flags, result, k));
  object["ensembles"] = json::object();
  for (const EnsembleMetrics& ensemble : metrics.ensembles)
    object["ensembles"][std::string(name_of(ensemble.kind))] = ensemble.accuracy;
  object["overthinking"] = {{"wasteful", metrics.overthinking.wasteful},
                            {"destructive", metrics.overthinking.destructive},
                            {"oracle", metrics.overthinking.oracle}};
  object["policy"] = result.policy ? policy_json(*result.policy) : json(nullptr);
  object["controls"] = controls_json(result);
  write_out(object.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

std::string interval_text(const Interval& interval) {
  return fmt::format("{:.2f} … {:.2f}", 100 * interval.low, 100 * interval.high);
}

std::string confusion_text(const Model& model, const Result& result, int exit_index, bool color) {
  const auto counts = confusion_matrix(result.logits.view(), exit_index);
  std::vector<std::string> titles = {"label \\ answer"};
  for (const std::string& name : model.classes) titles.push_back(printable(name));
  Table table(titles);
  auto count = counts.begin();
  for (const std::string& name : model.classes) {
    std::vector<std::string> row = {printable(name)};
    for (std::size_t i = 0; i < model.classes.size(); ++i) row.push_back(std::to_string(*count++));
    table.add(std::move(row));
  }
  return fmt::format("\n{}\n{}",
                     heading(fmt::format("Confusion at exit {}", exit_index + 1), color),
                     table.text(color));
}

std::string policy_text(const PolicyResult& policy, bool color) {
  const PolicyMetrics& metrics = policy.metrics;
  std::vector<std::string> titles = {"accuracy", "95 % interval", "relative cost", "harm", "help"};
  std::vector<std::string> row = {
      percent(metrics.accuracy), interval_text(metrics.accuracy_interval),
      fmt::format("{:.3f}", metrics.relative_cost), percent(metrics.harm), percent(metrics.help)};
  for (std::size_t k = 0; k < metrics.shares.size(); ++k) {
    titles.push_back(fmt::format("left at exit {}", k + 1));
    row.push_back(percent(metrics.shares[k]));
  }
  Table table(titles, 0);
  table.add(row);
  const ChosenPolicy& chosen = policy.chosen;
  std::string text =
      fmt::format("\n{}\n{}",
                  heading(fmt::format("{}: stop where {} (executed, not replayed)",
                                      policy.of_model ? "The model's policy" : "Policy",
                                      describe(chosen.policy)),
                          color),
                  table.text(color));
  if (policy.of_model) text += fmt::format("  chosen by {}", printable(chosen.aim));
  if (const auto& given = chosen.guarantee)
    text += fmt::format("; certified: {} ≤ {} with probability ≥ {}", given->of, given->epsilon,
                        1 - given->delta);
  if (policy.of_model) text += "\n";
  if (policy.replay_differs > 0)
    text += fmt::format("  {} images differ when the logits of all exits are replayed instead\n",
                        policy.replay_differs);
  return text;
}

std::string controls_text(const Result& result, bool color) {
  Table table({"beside it", "accuracy", "95 % interval", "relative cost",
               result.policy ? "policy − this, points" : "last exit − this, points"});
  for (const auto& [name, control] : result.controls) {
    const Interval& difference = control.difference_interval;
    table.add({printable(name), percent(control.accuracy),
               control.accuracy_interval ? interval_text(*control.accuracy_interval) : "expected",
               fmt::format("{:.3f}", control.relative_cost),
               fmt::format("{:+.2f} ({:+.2f} … {:+.2f})", 100 * control.difference,
                           100 * difference.low, 100 * difference.high)});
  }
  return "\n" + table.text(color);
}

void print_text(const Flags& flags, const Model& model, const Result& result,
                const std::string& source) {
  const bool color = may_color(stdout);
  const Metrics& metrics = result.metrics;
  std::string text =
      heading(fmt::format("{} on {} {} images of {}", printable(flags.model),
                          with_commas(metrics.images), flags.part, printable(source)),
              color) +
      "\n";
  Table exits({"exit", "after", "accuracy", "95 % interval", "NLL", "ECE", "MACs", "relative cost",
               "right above 0.9", "0.99", "0.999"},
              2);
  for (int k = 0; k < result.logits.exits; ++k) {
    const ExitMetrics& exit = metrics.exits[static_cast<std::size_t>(k)];
    std::vector<std::string> row = {std::to_string(k + 1),
                                    exit_place(model.graph, k),
                                    percent(exit.accuracy),
                                    interval_text(exit.accuracy_interval),
                                    fmt::format("{:.3f}", exit.nll),
                                    fmt::format("{:.3f}", exit.ece),
                                    with_commas(result.cost.exit_macs[static_cast<std::size_t>(k)]),
                                    fmt::format("{:.3f}", result.cost.relative(k))};
    for (const std::int64_t count : exit.confident_and_right) row.push_back(with_commas(count));
    exits.add(std::move(row));
  }
  text += exits.text(color);

  if (result.logits.exits > 1) {
    Table ensembles({"ensemble of all exits", "accuracy", "95 % interval"});
    for (const EnsembleMetrics& ensemble : metrics.ensembles)
      ensembles.add({std::string(name_of(ensemble.kind)), percent(ensemble.accuracy),
                     interval_text(ensemble.accuracy_interval)});
    Table overthinking({"overthinking", "images"});
    overthinking.add({"wasteful: an earlier exit was right, and so is the last",
                      percent(metrics.overthinking.wasteful)});
    overthinking.add({"destructive: an earlier exit was right, the last is wrong",
                      percent(metrics.overthinking.destructive)});
    overthinking.add({"oracle: some exit is right", percent(metrics.overthinking.oracle)});
    text += "\n" + ensembles.text(color) + "\n" + overthinking.text(color);
  }
  if (result.policy) text += policy_text(*result.policy, color);
  if (!result.controls.empty()) text += controls_text(result, color);
  if (flags.confusion)
    for (int k = 0; k < result.logits.exits; ++k) text += confusion_text(model, result, k, color);
  write_out(text);
}

/// The thresholds of a sweep are chosen on the model's tune images.
void run_sweep(const Flags& flags, const Model& model, Predictor& predictor,
               const LoadedData& loaded, const Result& result) {
  if (result.logits.exits < 2) throw Error("{}: has no early exit to sweep over", flags.model);
  const auto& hashes = model.provenance.data.tune;
  if (hashes.empty())
    throw Error("{}: the model does not say which images are its tune part", flags.model);
  LoadOptions options;
  options.height = model.preprocessing.height;
  options.width = model.preprocessing.width;
  options.fit = model.preprocessing.fit;
  const bool test = flags.part == "test";
  const LoadedData train = test ? load_data(flags.data, Part::train, options) : LoadedData{};
  const Dataset& data = test ? train.dataset : loaded.dataset;
  const EvaluationSet set{&data, images_listed(data, hashes), &model.preprocessing,
                          flags.engine.batch > 0 ? flags.engine.batch : kEvaluationBatch};
  if (set.indices.empty()) throw Error("{}: holds no image of the model's tune part", flags.data);
  refuse_trained_images(model, data, set.indices);
  const SavedLogits tune = run_all_exits(predictor, set);
  write_sweeps(flags.sweep, {flags.model, loaded.source, flags.part}, tune.view(),
               result.logits.view(), relative_costs(result.cost));
}

int run(const Flags& flags) {
  check(flags.policy);
  check_sweep_names(flags.sweep);
  const Model model = load_model(flags.model);
  const auto predictor = open_engine(model, flags.engine);

  LoadOptions options;
  options.height = model.preprocessing.height;
  options.width = model.preprocessing.width;
  options.fit = model.preprocessing.fit;
  const Part part = flags.part == "test" ? Part::test : Part::train;
  const LoadedData loaded = load_data(flags.data, part, options);
  report_skipped(loaded);
  EvaluationSet set{&loaded.dataset, choose_images(flags, model, loaded), &model.preprocessing,
                    flags.engine.batch > 0 ? flags.engine.batch : kEvaluationBatch};
  const auto left_out = loaded.dataset.size() - static_cast<std::int64_t>(set.indices.size());
  if (part == Part::test && left_out > 0)
    tell(fmt::format("left out {} images that the model was trained on\n", left_out));
  if (part == Part::test) log_read(flags, loaded, set.indices.size());

  Result result;
  result.cost = cost_of(model.graph);
  result.logits = run_all_exits(*predictor, set);
  if (!flags.save_logits.empty()) {
    result.logits.metadata = {{"model", flags.model},
                              {"data", loaded.source},
                              {"part", flags.part},
                              {"commit", kCommit},
                              {"precision", flags.engine.precision}};
    save_logits(flags.save_logits, result.logits);
  }
  result.metrics = measure(result.logits.view(), model.loss_weights);
  if (const auto chosen = policy_of(flags.policy, model, flags.engine.precision)) {
    result.policy = run_policy(*predictor, set, result, *chosen);
    result.policy->of_model = !flags.policy.threshold;
  }
  add_controls(flags, loaded, set, result);
  if (!flags.sweep.empty()) run_sweep(flags, model, *predictor, loaded, result);
  flags.json ? print_json(flags, result) : print_text(flags, model, result, loaded.source);
  return 0;
}

}  // namespace

void add_test_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("test", "Measure every exit of a model on labelled images");
  command->add_option("model", flags->model, "Model file")->required();
  command
      ->add_option("--data", flags->data,
                   "Images: CIFAR archive or folder, image folder, packed file, synthetic")
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
