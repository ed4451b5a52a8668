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
#include "cli/terminal.h"
#include "core/error.h"
#include "core/version.h"
#include "eval/metrics.h"
#include "eval/policy_metrics.h"
#include "graph/cost.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;

struct Flags {
  std::string model, data, save_logits, criterion = "confidence", part = "test";
  std::optional<double> threshold;
  bool json = false, confusion = false, skip_trained = false;
  EngineFlags engine;
};

/// What a threshold did when the network really stopped there.
struct PolicyResult {
  ThresholdRule rule;
  PolicyMetrics metrics;
  /// Images that leave elsewhere, or with another answer, when saved logits are replayed.
  std::int64_t replay_differs = 0;
};

struct Result {
  SavedLogits logits;
  Metrics metrics;
  Cost cost;
  std::optional<PolicyResult> policy;
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
  if (flags.threshold)
    command += fmt::format(" --threshold {} --criterion {}", *flags.threshold, flags.criterion);
  try {
    log_test_read(flags.model, {command, loaded.source, static_cast<std::int64_t>(images)});
  } catch (const Error& error) {
    tell(fmt::format("this reading of the test images is not on record: {}\n", error.what()));
  }
}

PolicyResult run_policy(Predictor& predictor, const EvaluationSet& set, const Result& result,
                        const ThresholdRule& rule) {
  const StoppedAnswers stopped = run_until(predictor, set, rule);
  const LogitsView view = result.logits.view();
  const StoppedAnswers replayed = replay(view, rule);
  std::vector<std::int64_t> last;
  for (std::int64_t i = 0; i < view.images(); ++i)
    last.push_back(argmax(view.at(view.exits - 1, i)));
  std::vector<double> costs;
  for (int k = 0; k < view.exits; ++k) costs.push_back(result.cost.relative(k));

  PolicyResult policy{rule, {}, 0};
  policy.metrics =
      measure_policy({result.logits.labels, stopped.exit_index, stopped.answers, last}, costs);
  for (std::size_t i = 0; i < last.size(); ++i)
    policy.replay_differs += stopped.exit_index[i] != replayed.exit_index[i] ||
                             stopped.answers[i] != replayed.answers[i];
  return policy;
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
  return {{"criterion", to_string(policy.rule.criterion)},
          {"threshold", policy.rule.threshold},
          {"accuracy", metrics.accuracy},
          {"accuracy_interval", {metrics.accuracy_interval.low, metrics.accuracy_interval.high}},
          {"relative_cost", metrics.relative_cost},
          {"shares", metrics.shares},
          {"harm", metrics.harm},
          {"help", metrics.help},
          {"executed", true},
          {"replay_differs", policy.replay_differs}};
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
  std::string text =
      fmt::format("\n{}\n{}",
                  heading(fmt::format("Policy: stop where {} ≥ {} (executed, not replayed)",
                                      to_string(policy.rule.criterion), policy.rule.threshold),
                          color),
                  table.text(color));
  if (policy.replay_differs > 0)
    text += fmt::format("  {} images differ when the logits of all exits are replayed instead\n",
                        policy.replay_differs);
  return text;
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
  if (flags.confusion)
    for (int k = 0; k < result.logits.exits; ++k) text += confusion_text(model, result, k, color);
  write_out(text);
}

int run(const Flags& flags) {
  const ThresholdRule rule{criterion_from_string(flags.criterion), flags.threshold.value_or(1)};
  if (!(rule.threshold >= 0 && rule.threshold <= 1))
    throw UsageError("--threshold: expected a score from 0 to 1, got {}", rule.threshold);
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
  if (flags.threshold) result.policy = run_policy(*predictor, set, result, rule);
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
  command->add_option("--threshold", flags->threshold,
                      "Also run the network so that it stops at the first exit this sure");
  command->add_option("--criterion", flags->criterion, "confidence, entropy or margin")
      ->capture_default_str();
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
