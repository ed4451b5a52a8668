#include "cli/test_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "cli/drift_text.h"
#include "cli/guarantee_output.h"
#include "cli/terminal.h"
#include "core/text.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;
using workflow::EvaluateOptions;
using workflow::Evaluation;
using workflow::PolicyEvaluation;

std::string_view name_of(eval::EnsembleKind kind) {
  switch (kind) {
    case eval::EnsembleKind::mean:
      return "mean";
    case eval::EnsembleKind::geometric:
      return "geometric";
    case eval::EnsembleKind::weighted:
      return "weighted";
  }
  return "";
}

json confusion_json(const Evaluation& result, int exit_index) {
  const auto& counts = result.confusion[static_cast<std::size_t>(exit_index)];
  const auto classes = static_cast<std::ptrdiff_t>(result.logits.classes);
  json rows = json::array();
  for (auto row = counts.begin(); row != counts.end(); row += classes)
    rows.push_back(std::vector<std::int64_t>(row, row + classes));
  return rows;
}

json exit_json(const EvaluateOptions& options, const Evaluation& result, int exit_index) {
  const eval::ExitMetrics& exit = result.metrics.exits[static_cast<std::size_t>(exit_index)];
  json confident;
  for (std::size_t i = 0; i < eval::kConfidenceLevels.size(); ++i)
    confident[fmt::format("{}", eval::kConfidenceLevels[i])] = exit.confident_and_correct[i];
  json object = {{"exit", exit_index + 1},
                 {"accuracy", exit.accuracy},
                 {"accuracy_interval", {exit.accuracy_interval.low, exit.accuracy_interval.high}},
                 {"nll", exit.nll},
                 {"ece", exit.ece},
                 {"macs", result.cost.exit_macs[static_cast<std::size_t>(exit_index)]},
                 {"relative_cost", result.cost.relative(exit_index)},
                 {"confident_and_correct", confident}};
  if (options.confusion) object["confusion"] = confusion_json(result, exit_index);
  return object;
}

json policy_json(const PolicyEvaluation& policy) {
  const eval::PolicyMetrics& metrics = policy.metrics;
  const policy::Policy& rule = policy.chosen.policy;
  json thresholds = json::array();
  for (const auto& threshold : rule.thresholds)
    thresholds.push_back(threshold ? json(*threshold) : json(nullptr));
  json drift = nullptr;
  if (policy.drift)
    drift = {{"flag", to_string(policy.drift->drift)},
             {"distance", policy.drift->distance},
             {"p_value", policy.drift->p_value}};
  json guarantee = nullptr;
  if (const auto& given = policy.guarantee)
    guarantee = guarantee_json(engine::to_public(*given, policy.certificate));
  return {{"from", policy.is_models_own ? "model" : "flags"},
          {"aim", policy::describe_aim(policy.chosen.aim)},
          {"criterion", to_string(rule.criterion)},
          {"ensemble", to_string(rule.ensemble)},
          {"thresholds", thresholds},
          {"guarantee", guarantee},
          {"accuracy", metrics.accuracy},
          {"accuracy_interval", {metrics.accuracy_interval.low, metrics.accuracy_interval.high}},
          {"relative_cost", metrics.relative_cost},
          {"shares", metrics.shares},
          {"against", to_string(policy.against)},
          {"accuracy_of_reference", metrics.reference_accuracy},
          {"harm", metrics.harm},
          {"help", metrics.help},
          {"drift", drift},
          {"executed", true},
          {"replay_differs", policy.replay_differs}};
}

json rates_json(const eval::OverthinkingCounts& counts, const std::vector<std::int64_t>& of_exits) {
  json rates = json::array();
  for (const std::int64_t count : of_exits) rates.push_back(counts.rate(count));
  return rates;
}

json overthinking_json(const Evaluation& result) {
  const eval::OverthinkingCounts& all = result.metrics.overthinking;
  json object = {{"wasteful", all.rate(all.wasteful())},
                 {"destructive", all.rate(all.destructive())},
                 {"oracle", all.rate(all.oracle())},
                 {"destroyed_errors", nullptr},
                 {"needed_cost", nullptr},
                 {"first_correct", rates_json(all, all.first_correct)},
                 {"lost_after", rates_json(all, all.lost_after)},
                 {"classes", json::array()}};
  if (all.errors() > 0) object["destroyed_errors"] = all.destroyed_errors();
  if (all.oracle() > 0) object["needed_cost"] = all.needed_cost(result.cost.relative_costs());
  for (std::size_t c = 0; c < result.overthinking.size(); ++c) {
    const eval::OverthinkingCounts& row = result.overthinking[c];
    object["classes"].push_back({{"class", result.classes[c]},
                                 {"images", row.images},
                                 {"errors", row.errors()},
                                 {"destructive", row.destructive()},
                                 {"wasteful", row.wasteful()},
                                 {"first_correct", row.first_correct},
                                 {"lost_after", row.lost_after}});
  }
  return object;
}

std::string overthinking_text(const Evaluation& result, bool color) {
  const eval::OverthinkingCounts& all = result.metrics.overthinking;
  const auto share = [&](std::int64_t count) { return percent(all.rate(count)); };
  Table table({"overthinking", "images"});
  table.add({"wasteful: an earlier exit is correct, and so is the last", share(all.wasteful())});
  table.add({fmt::format("destructive: an earlier exit is correct, the last is wrong ({} of its "
                         "errors)",
                         percent(all.destroyed_errors())),
             share(all.destructive())});
  for (std::size_t k = 0; k < all.lost_after.size(); ++k)
    table.add(
        {fmt::format("  correct at exit {} for the last time", k + 1), share(all.lost_after[k])});
  table.add(
      {fmt::format("oracle: some exit is correct, the first one at a mean relative cost of {:.3f}",
                   all.needed_cost(result.cost.relative_costs())),
       share(all.oracle())});
  for (std::size_t k = 0; k < all.first_correct.size(); ++k)
    table.add({fmt::format("  correct at exit {} for the first time", k + 1),
               share(all.first_correct[k])});
  return "\n" + table.text(color);
}

json controls_json(const Evaluation& result) {
  json rows = json::array();
  for (const auto& [kind, name, control] : result.controls) {
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

std::string interval_text(const eval::Interval& interval) {
  return fmt::format("{:.2f} … {:.2f}", 100 * interval.low, 100 * interval.high);
}

std::string confusion_text(const Evaluation& result, int exit_index, bool color) {
  std::vector<std::string> titles = {"label \\ predicted"};
  for (const std::string& name : result.classes) titles.push_back(printable(name));
  Table table(titles);
  auto count = result.confusion[static_cast<std::size_t>(exit_index)].begin();
  for (const std::string& name : result.classes) {
    std::vector<std::string> row = {printable(name)};
    for (std::size_t i = 0; i < result.classes.size(); ++i) row.push_back(std::to_string(*count++));
    table.add(std::move(row));
  }
  return fmt::format("\n{}\n{}",
                     heading(fmt::format("Confusion at exit {}", exit_index + 1), color),
                     table.text(color));
}

std::string policy_text(const PolicyEvaluation& policy, bool color) {
  const eval::PolicyMetrics& metrics = policy.metrics;
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
  const policy::ChosenPolicy& chosen = policy.chosen;
  std::string text =
      fmt::format("\n{}\n{}",
                  heading(fmt::format("{}: {} (executed, not replayed)",
                                      policy.is_models_own ? "The model's policy" : "Policy",
                                      describe(chosen.policy)),
                          color),
                  table.text(color));
  text += fmt::format("  harm and help are counted against {}: {}\n", describe(policy.against),
                      percent(metrics.reference_accuracy));
  if (policy.is_models_own)
    text += fmt::format("  chosen by {}", printable(policy::describe_aim(chosen.aim)));
  if (policy.is_models_own) text += "\n";
  if (const auto& given = policy.guarantee)
    text += policy.certificate.in_force == InForce::yes
                ? fmt::format("  certified: {}, on images like the certify images; in force\n",
                              describe(*given))
                : fmt::format("  its certificate ({}) is {}\n", describe(*given),
                              describe(policy.certificate));
  if (policy.drift && policy.drift->drift == policy::Drift::drifted)
    text += fmt::format("  drift: {}\n", drift_text(policy.drift->distance, policy.drift->p_value));
  if (policy.replay_differs > 0)
    text += fmt::format(
        "  {} images get another answer or exit when the policy is replayed on saved logits\n",
        policy.replay_differs);
  return text;
}

std::string controls_text(const Evaluation& result, bool color) {
  Table table({"compared with", "accuracy", "95 % interval", "relative cost",
               result.policy ? "policy − this, points" : "last exit − this, points"});
  for (const auto& [kind, name, control] : result.controls) {
    const eval::Interval& difference = control.difference_interval;
    table.add({printable(name), percent(control.accuracy),
               control.accuracy_interval ? interval_text(*control.accuracy_interval) : "expected",
               fmt::format("{:.3f}", control.relative_cost),
               fmt::format("{:+.2f} ({:+.2f} … {:+.2f})", 100 * control.difference,
                           100 * difference.low, 100 * difference.high)});
  }
  return "\n" + table.text(color);
}

}  // namespace

std::string to_json_text(const EvaluateOptions& options, const Evaluation& result) {
  const eval::Metrics& metrics = result.metrics;
  json object = {{"model", options.model.string()},
                 {"data", options.data},
                 {"images", metrics.images},
                 {"precision", result.precision},
                 {"kernels", result.kernels}};
  object["exits"] = json::array();
  for (int k = 0; k < result.logits.exits; ++k)
    object["exits"].push_back(exit_json(options, result, k));
  object["ensembles"] = json::object();
  for (const eval::EnsembleMetrics& ensemble : metrics.ensembles)
    object["ensembles"][std::string(name_of(ensemble.kind))] = ensemble.accuracy;
  object["overthinking"] = overthinking_json(result);
  object["policy"] = result.policy ? policy_json(*result.policy) : json(nullptr);
  object["controls"] = controls_json(result);
  return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string to_text(const EvaluateOptions& options, const Evaluation& result, bool color) {
  const eval::Metrics& metrics = result.metrics;
  std::string text =
      heading(fmt::format("{} on {} {} images of {}", printable(options.model.string()),
                          core::with_commas(metrics.images), to_string(options.part),
                          printable(result.source)),
              color) +
      "\n";
  Table exits({"exit", "after", "accuracy", "95 % interval", "NLL", "ECE", "MACs", "relative cost",
               "correct above 0.9", "0.99", "0.999"},
              2);
  for (int k = 0; k < result.logits.exits; ++k) {
    const eval::ExitMetrics& exit = metrics.exits[static_cast<std::size_t>(k)];
    std::vector<std::string> row = {
        std::to_string(k + 1),
        result.exit_units[static_cast<std::size_t>(k)],
        percent(exit.accuracy),
        interval_text(exit.accuracy_interval),
        fmt::format("{:.3f}", exit.nll),
        fmt::format("{:.3f}", exit.ece),
        core::with_commas(result.cost.exit_macs[static_cast<std::size_t>(k)]),
        fmt::format("{:.3f}", result.cost.relative(k))};
    for (const std::int64_t count : exit.confident_and_correct)
      row.push_back(core::with_commas(count));
    exits.add(std::move(row));
  }
  text += exits.text(color);

  if (result.logits.exits > 1) {
    Table ensembles({"ensemble of all exits", "accuracy", "95 % interval"});
    for (const eval::EnsembleMetrics& ensemble : metrics.ensembles)
      ensembles.add({std::string(name_of(ensemble.kind)), percent(ensemble.accuracy),
                     interval_text(ensemble.accuracy_interval)});
    text += "\n" + ensembles.text(color) + overthinking_text(result, color);
  }
  if (result.policy) text += policy_text(*result.policy, color);
  if (!result.controls.empty()) text += controls_text(result, color);
  if (options.confusion)
    for (int k = 0; k < result.logits.exits; ++k) text += confusion_text(result, k, color);
  return text;
}

}  // namespace offramp::cli
