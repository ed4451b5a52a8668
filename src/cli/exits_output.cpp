#include "cli/exits_output.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/calibrate_output.h"
#include "cli/json_text.h"
#include "cli/terminal.h"
#include "core/text.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;
using policy::SetValue;
using workflow::ExitCandidate;
using workflow::ExitPlacement;
using workflow::HeldOutResult;

const ExitCandidate& candidate(const ExitPlacement& placement, int k) {
  return placement.candidates[static_cast<std::size_t>(k)];
}

std::string describe(const ExitPlacement& placement, const policy::ExitSet& set) {
  std::vector<std::string> names;
  for (const int k : set)
    names.push_back(
        fmt::format("{} ({})", candidate(placement, k).after, candidate(placement, k).kind));
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

json interval_json(const eval::Interval& interval) { return {interval.low, interval.high}; }

json value_json(const ExitPlacement& placement, const SetValue& value) {
  json exits = json::array();
  for (const int k : value.set)
    exits.push_back(
        {{"after", candidate(placement, k).after}, {"head", candidate(placement, k).kind}});
  return {{"exits", exits},
          {"met", value.met},
          {"relative_cost", value.relative_cost},
          {"accuracy", value.accuracy}};
}

json held_out_json(const HeldOutResult& held_out) {
  return {{"images", held_out.images},
          {"folds", held_out.folds},
          {"same_choice", held_out.same_choice},
          {"accuracy", held_out.accuracy},
          {"accuracy_interval", interval_json(held_out.accuracy_interval)},
          {"accuracy_of_last_exit", held_out.last_accuracy},
          {"difference_interval", interval_json(held_out.difference)},
          {"relative_cost", held_out.relative_cost},
          {"relative_cost_interval", interval_json(held_out.cost_interval)},
          {"harm", held_out.harm}};
}

std::string accuracy_word(const ExitsResult& result) {
  return result.label_free ? "agreement" : "accuracy";
}

std::string value_text(const SetValue& value) {
  return value.met ? fmt::format("{:.3f}", value.relative_cost) : "not met";
}

std::string candidates_table(const ExitsResult& result, bool color) {
  const ExitPlacement& placement = result.placement;
  Table table({"after", "head", "shape", "cost up to it", "of the head", accuracy_word(result),
               "cost with it alone", "without it", "chosen"},
              2);
  for (const ExitCandidate& of : placement.candidates)
    table.add({printable(of.after), of.kind, fmt::format("{}", fmt::join(of.shape, "x")),
               fmt::format("{:.3f}", of.body_cost), fmt::format("{:.4f}", of.head_cost),
               percent(of.accuracy), value_text(of.alone),
               of.without ? value_text(*of.without) : "", of.chosen ? "yes" : ""});
  return table.text(color);
}

std::string choice_sentence(const ExitPlacement& placement) {
  const SetValue& chosen = placement.chosen;
  if (!chosen.set.empty())
    return fmt::format("Chosen: {}, at relative cost {:.3f}.", describe(placement, chosen.set),
                       chosen.relative_cost);
  if (chosen.met)
    return "No early exit was chosen: none meets the aim and saves more than its head costs.";
  const auto cost = [](const ExitCandidate& of) { return of.body_cost + of.head_cost; };
  return fmt::format(
      "No early exit was chosen: no thresholds stay within the budget. The cheapest exit costs "
      "{:.3f} for each image that stops there.",
      cost(*std::ranges::min_element(placement.candidates, {}, cost)));
}

std::vector<std::string> search_sentences(const ExitsResult& result) {
  const ExitPlacement& placement = result.placement;
  std::vector<std::string> lines;
  if (result.joint_epochs > 0)
    lines.push_back(fmt::format(
        "These figures are of the frozen network; then it was trained as a whole for {} epochs.",
        result.joint_epochs));
  lines.push_back(fmt::format(
      "{} sets of exits were evaluated ({}); each by the cost of its thresholds for the aim on {} "
      "tune images, cross-validated.",
      core::with_commas(placement.evaluated),
      placement.exhaustive ? "all possible ones"
                           : "those that a dynamic program proposes, and their neighbours",
      core::with_commas(placement.images)));
  lines.push_back(choice_sentence(placement));
  if (const auto& held_out = placement.held_out)
    lines.push_back(fmt::format(
        "On images that the search did not use ({} images in {} folds, {} of which chose the same "
        "exits): {} {} ({} to {}), {:+.2f} points to the last exit ({:+.2f} to {:+.2f}), relative "
        "cost {:.3f} ({:.3f} to {:.3f}).",
        core::with_commas(held_out->images), held_out->folds, held_out->same_choice,
        accuracy_word(result), percent(held_out->accuracy),
        percent(held_out->accuracy_interval.low), percent(held_out->accuracy_interval.high),
        100 * (held_out->accuracy - held_out->last_accuracy), 100 * held_out->difference.low,
        100 * held_out->difference.high, held_out->relative_cost, held_out->cost_interval.low,
        held_out->cost_interval.high));
  else
    lines.emplace_back(
        "There are too few tune images to evaluate the search on images that it did not use.");
  return lines;
}

}  // namespace

std::string to_json_text(const ExitsResult& result) {
  const ExitPlacement& placement = result.placement;
  json candidates = json::array();
  for (const ExitCandidate& of : placement.candidates) {
    json object = {{"after", of.after},
                   {"head", of.kind},
                   {"shape", of.shape},
                   {"body_cost", of.body_cost},
                   {"head_cost", of.head_cost},
                   {"accuracy", of.accuracy},
                   {"accuracy_interval", interval_json(of.accuracy_interval)},
                   {"agreement", of.agreement},
                   {"alone", value_json(placement, of.alone)},
                   {"without", nullptr},
                   {"chosen", of.chosen}};
    if (of.without) object["without"] = value_json(placement, *of.without);
    candidates.push_back(std::move(object));
  }
  json sizes = json::array();
  for (const SetValue& value : placement.best_of_size)
    sizes.push_back(value_json(placement, value));
  json object = {{"model", result.model},
                 {"data", result.data},
                 {"written_to", result.written_to.string()},
                 {"aim", policy::describe(result.aim)},
                 {"label_free", result.label_free},
                 {"joint_epochs", result.joint_epochs},
                 {"figures_of", result.joint_epochs > 0 ? "frozen" : "written"},
                 {"head_seconds", result.head_seconds},
                 {"tune_images", placement.images},
                 {"accuracy_of_last_exit", placement.last_accuracy},
                 {"candidates", candidates},
                 {"chosen", value_json(placement, placement.chosen)},
                 {"best_of_size", sizes},
                 {"exhaustive", placement.exhaustive},
                 {"evaluated", placement.evaluated},
                 {"held_out", nullptr},
                 {"ms", nullptr},
                 {"policy", nullptr}};
  if (placement.held_out) object["held_out"] = held_out_json(*placement.held_out);
  if (!placement.body_ms.empty())
    object["ms"] = {{"body", placement.body_ms}, {"head", placement.head_ms}};
  if (result.calibration) {
    workflow::CalibrateOptions options;
    options.model = result.written_to;
    options.aim = result.aim;
    object["policy"] = to_json(options, *result.calibration);
  }
  return json_text(object);
}

std::string to_text(const ExitsResult& result, bool color) {
  const ExitPlacement& placement = result.placement;
  std::string text = heading(fmt::format("Places for exits in {}, for {}", printable(result.model),
                                         policy::describe(result.aim)),
                             color) +
                     "\n" + candidates_table(result, color) + "\n";
  for (const std::string& line : search_sentences(result)) text += line + "\n";
  Table sizes({"early exits", "relative cost", accuracy_word(result), "which"}, 1);
  for (std::size_t size = 0; size < placement.best_of_size.size(); ++size) {
    const SetValue& value = placement.best_of_size[size];
    sizes.add({std::to_string(size), value_text(value), percent(value.accuracy),
               printable(describe(placement, value.set))});
  }
  text += "\n" + heading("The best of each number of early exits", color) + "\n" +
          sizes.text(color) + "\n";
  if (!result.calibration)
    return text + fmt::format("written to {}: the network without early exits\n",
                              printable(result.written_to.string()));
  workflow::CalibrateOptions options;
  options.model = result.written_to;
  options.aim = result.aim;
  return text + to_text(options, *result.calibration, color);
}

report::ExitPlacesInput to_page(const ExitsResult& result) {
  report::ExitPlacesInput page;
  page.title = result.model;
  page.aim = policy::describe(result.aim);
  page.sentences = search_sentences(result);
  page.label_free = result.label_free;
  page.last_accuracy = result.placement.last_accuracy;
  for (const ExitCandidate& of : result.placement.candidates)
    page.places.push_back({of.after, of.kind, of.body_cost, of.head_cost, of.accuracy,
                           of.alone.relative_cost, of.alone.met, of.chosen});
  for (const SetValue& value : result.placement.best_of_size)
    page.best_of_size.push_back(value.relative_cost);
  return page;
}

}  // namespace offramp::cli
