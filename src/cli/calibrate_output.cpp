#include "cli/calibrate_output.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "cli/flag_names.h"
#include "cli/json_text.h"
#include "cli/terminal.h"
#include "core/text.h"
#include "policy/criteria.h"

namespace offramp::cli {
namespace {

using workflow::CalibrateOptions;
using workflow::Calibration;
using workflow::Certification;

using json = nlohmann::ordered_json;

json thresholds_json(const policy::Thresholds& thresholds) {
  json array = json::array();
  for (const auto& threshold : thresholds)
    array.push_back(threshold ? json(*threshold) : json(nullptr));
  return array;
}

bool has_shared_threshold(const policy::Thresholds& thresholds) {
  return std::ranges::adjacent_find(thresholds, std::not_equal_to<>()) == thresholds.end();
}

/// Turns 0-based exit indices into the 1-based numbers that the output shows.
std::vector<int> exit_numbers(const std::vector<int>& exit_indices) {
  std::vector<int> numbers;
  for (const int exit_index : exit_indices) numbers.push_back(exit_index + 1);
  return numbers;
}

std::vector<std::string> warnings_of(const Calibration& result) {
  std::vector<std::string> warnings;
  for (const std::string& warning : result.warnings) warnings.push_back(with_flag_names(warning));
  return warnings;
}

json guarantee_json(const policy::HarmGuarantee& aim, const Calibration& result,
                    const Certification& certification) {
  const policy::CertificationResult& found = certification.result;
  json object = {{"of", aim.label_free ? "disagreement" : "harm"},
                 {"against", to_string(aim.against)},
                 {"epsilon", aim.epsilon},
                 {"delta", aim.delta},
                 {"certified", found.holds()},
                 {"attempt", certification.was_attempted ? json(found.attempt) : json(nullptr)},
                 {"level", found.level},
                 {"images", found.images},
                 {"missing", certification.missing},
                 {"copies", certification.copies},
                 {"images_needed", found.images_needed},
                 {"counted", nullptr},
                 {"upper_bound", nullptr},
                 {"disagreement", nullptr},
                 {"precision", result.precision},
                 {"kernels", result.kernels},
                 {"worst_class", nullptr}};
  if (found.holds()) {
    object["counted"] = found.counted;
    object["upper_bound"] = found.upper_bound;
    if (const auto& disagreement = found.disagreement)
      object["disagreement"] = {{"level", disagreement->level},
                                {"counted", disagreement->counted},
                                {"upper_bound", disagreement->upper_bound}};
  }
  if (const auto& worst = certification.worst)
    object["worst_class"] = {{"class", result.classes[static_cast<std::size_t>(worst->label)]},
                             {"images", worst->images},
                             {"counted", worst->counted},
                             {"upper_bound", worst->upper_bound}};
  return object;
}

/// Says how many images the ensemble of all exits itself harms; empty if that is not the reason.
std::string failed_ensemble_text(const CalibrateOptions& options, const policy::HarmGuarantee& aim,
                                 const policy::CertificationResult& found) {
  if (options.shape.ensemble == policy::Ensemble::off || found.counted_never_stopping == 0)
    return "";
  return fmt::format(" (the ensemble of all exits alone has {} of {} against {})",
                     core::with_commas(found.counted_never_stopping),
                     core::with_commas(found.images), describe(aim.against));
}

std::string guarantee_text(const CalibrateOptions& options, const policy::HarmGuarantee& aim,
                           const Calibration& result, const Certification& certification) {
  const policy::CertificationResult& found = certification.result;
  std::string text;
  if (!certification.was_attempted)
    text = fmt::format(
        "nothing is certified: for {}, {} certify images are too few, {} are needed; none of them "
        "was used, and every image goes to the last exit\n",
        policy::describe_bounds(aim), core::with_commas(found.images),
        core::with_commas(found.images_needed));
  else if (!found.holds())
    text = fmt::format(
        "nothing is certified: even the thresholds that stop the fewest images fail the test of "
        "{}{}; every image goes to the last exit\n",
        policy::describe_bounds(aim), failed_ensemble_text(options, aim, found));
  else
    text = fmt::format(
        "certified: {} on images like these ({} of {} certify images against {}, bound "
        "{:.3g})\n",
        policy::describe_bounds(aim), core::with_commas(found.counted),
        core::with_commas(found.images), describe(aim.against), found.upper_bound);
  if (found.holds() && found.disagreement)
    text += fmt::format(
        "also certified, so that a server can watch it: answers other than those of {} ≤ {:.3g} "
        "({} of "
        "{} certify images)\n",
        describe(aim.against), found.disagreement->upper_bound,
        core::with_commas(found.disagreement->counted), core::with_commas(found.images));
  if (certification.was_attempted)
    text += fmt::format(
        "this is attempt {} to certify with these images: {} records it, and it was tested at "
        "level {:.3g}\n",
        found.attempt, printable(options.model.string()), found.level);
  if (certification.missing > 0)
    text += fmt::format(
        "{} images of the model's certify part are not in the data: the certificate is based on "
        "the others\n",
        core::with_commas(certification.missing));
  if (certification.copies > 0)
    text += fmt::format("{} exact copies of certify images were left out: each image counts once\n",
                        core::with_commas(certification.copies));
  if (const auto& worst = certification.worst)
    text += fmt::format(
        "worst class: {} ({} of {} images, bound {:.3g}); this bound is not certified\n",
        printable(result.classes[static_cast<std::size_t>(worst->label)]),
        core::with_commas(worst->counted), core::with_commas(worst->images), worst->upper_bound);
  return text;
}

std::string unmet_aim_text(const CalibrateOptions& options, const Calibration& result) {
  std::string why;
  if (std::holds_alternative<policy::MaxCost>(options.aim))
    why = fmt::format("the lowest cost, with every image stopped at exit 1, is {:.3f}",
                      result.costs.relative.front());
  else if (result.least_accuracy)
    why = fmt::format("no thresholds reach an accuracy of {} both on tune and cross-validated",
                      percent(*result.least_accuracy));
  return fmt::format("the aim cannot be met on tune: {}; every image goes to the last exit\n", why);
}

std::string threshold_text(policy::Criterion criterion, std::optional<float> threshold) {
  return threshold ? policy::format_threshold(criterion, *threshold) : "never";
}

std::string ensemble_text(policy::Ensemble ensemble) {
  if (ensemble == policy::Ensemble::off) return "";
  return fmt::format(
      "; an exit answers with the {}mean of the exits so far",
      ensemble == policy::Ensemble::mean ? "" : fmt::format("{} ", to_string(ensemble)));
}

std::string exits_table(const Calibration& result, bool color) {
  const policy::Policy& policy = result.chosen.policy;
  const bool weighted = !policy.ensemble_weights.empty(), timed = !result.costs.ms.empty();
  std::vector<std::string> titles = {"exit",
                                     fmt::format("stop where {} ≥", to_string(policy.criterion)),
                                     "temperature", "share of tune", "relative cost"};
  if (weighted) titles.emplace_back("weight");
  if (timed) titles.emplace_back("ms per image");
  Table table(titles);
  for (std::size_t k = 0; k < policy.temperatures.size(); ++k) {
    const bool last = k == policy.thresholds.size();
    std::vector<std::string> row = {
        std::to_string(k + 1),
        last ? "always" : threshold_text(policy.criterion, policy.thresholds[k]),
        fmt::format("{:.3f}", policy.temperatures[k]), percent(result.tune.metrics.shares[k]),
        fmt::format("{:.3f}", result.costs.relative[k])};
    if (weighted) row.push_back(fmt::format("{:.3f}", policy.ensemble_weights[k]));
    if (timed) row.push_back(fmt::format("{:.3f}", result.costs.ms[k]));
    table.add(std::move(row));
  }
  return table.text(color);
}

}  // namespace

json to_json(const CalibrateOptions& options, const Calibration& result) {
  const policy::Policy& policy = result.chosen.policy;
  const eval::PolicyMetrics& on_tune = result.tune.metrics;
  json object = {
      {"model", options.model.string()},
      {"written_to", options.written_to().string()},
      {"aim", policy::describe_aim(result.chosen.aim)},
      {"met", result.met},
      {"criterion", to_string(policy.criterion)},
      {"ensemble", to_string(policy.ensemble)},
      {"thresholds", thresholds_json(policy.thresholds)},
      {"shared_threshold", has_shared_threshold(policy.thresholds)},
      {"temperatures", policy.temperatures},
      {"ensemble_weights", policy.ensemble_weights},
      {"cost", to_string(policy::cost_unit_of(options.aim))},
      {"relative_costs", result.costs.relative},
      {"ms_per_image", nullptr},
      {"dropped_exits", exit_numbers(result.dropped)},
      {"replaced_policy", result.replaced ? json(*result.replaced) : json(nullptr)},
      {"tune",
       {{"images", result.tune.images},
        {"missing", result.tune.missing},
        {"accuracy", on_tune.accuracy},
        {"accuracy_interval", {on_tune.accuracy_interval.low, on_tune.accuracy_interval.high}},
        {"accuracy_of_last_exit", result.tune.last_accuracy},
        {"standard_error_of_difference", result.tune.standard_error},
        {"held_out_accuracy", nullptr},
        {"relative_cost", on_tune.relative_cost},
        {"against", to_string(result.against)},
        {"accuracy_of_reference", on_tune.reference_accuracy},
        {"shares", on_tune.shares},
        {"harm", on_tune.harm},
        {"help", on_tune.help},
        {"executed", false}}},
      {"guarantee", nullptr},
      {"warnings", warnings_of(result)}};
  if (const auto held_out = result.tune.held_out_accuracy)
    object["tune"]["held_out_accuracy"] = *held_out;
  if (!result.costs.ms.empty()) object["ms_per_image"] = result.costs.ms;
  if (const auto& certification = result.certification)
    object["guarantee"] =
        guarantee_json(std::get<policy::HarmGuarantee>(options.aim), result, *certification);
  return object;
}

std::string to_json_text(const CalibrateOptions& options, const Calibration& result) {
  return json_text(to_json(options, result));
}

std::string to_text(const CalibrateOptions& options, const Calibration& result, bool color) {
  const workflow::TuneResult& tune = result.tune;
  const eval::PolicyMetrics& metrics = tune.metrics;
  std::string text =
      heading(fmt::format("Chosen on {} tune images by {}{}", core::with_commas(tune.images),
                          printable(policy::describe_aim(result.chosen.aim)),
                          ensemble_text(result.chosen.policy.ensemble)),
              color) +
      "\n" + exits_table(result, color);
  text += fmt::format(
      "\non tune (replayed): accuracy {} at relative cost {:.3f}, harm {}, help {} against {}: "
      "{}\n",
      percent(metrics.accuracy), metrics.relative_cost, percent(metrics.harm),
      percent(metrics.help), describe(result.against), percent(metrics.reference_accuracy));
  if (result.against != policy::HarmReference::last_exit)
    text += fmt::format("the last exit alone: {}\n", percent(tune.last_accuracy));
  text +=
      fmt::format("standard error of the difference to the last exit: {:.2f} points ({} images)\n",
                  100 * tune.standard_error, core::with_commas(tune.images));
  if (tune.held_out_accuracy)
    text += fmt::format("cross-validated: accuracy {}, {:.2f} points {} the last exit\n",
                        percent(*tune.held_out_accuracy),
                        100 * std::abs(tune.last_accuracy - *tune.held_out_accuracy),
                        *tune.held_out_accuracy > tune.last_accuracy ? "above" : "below");
  text += fmt::format("relative cost 1 is {}\n",
                      policy::cost_unit_of(options.aim) == policy::CostUnit::macs
                          ? "the network without early exits"
                          : "the time to the last exit");
  if (tune.missing > 0)
    text += fmt::format("{} images of the model's tune part are not in the data\n",
                        core::with_commas(tune.missing));
  if (result.certification)
    text += guarantee_text(options, std::get<policy::HarmGuarantee>(options.aim), result,
                           *result.certification);
  else if (!result.met)
    text += unmet_aim_text(options, result);
  if (!result.dropped.empty())
    text += fmt::format(
        "dropped: {} {}, because the head costs more than it saves; the other exits are "
        "renumbered{}\n",
        result.dropped.size() == 1 ? "exit" : "exits",
        fmt::join(exit_numbers(result.dropped), ", "),
        result.training_state_dropped ? ", and the training state is not written" : "");
  else if (options.drop_useless_exits)
    text +=
        fmt::format("no exit was dropped: {}\n", result.met || result.certification
                                                     ? "each saves more than its head costs"
                                                     : "exits are dropped only if the aim is met");
  for (const std::string& warning : warnings_of(result))
    text += fmt::format("warning: {}\n", warning);
  if (result.replaced)
    text += fmt::format("replaces the policy chosen by {}\n", printable(*result.replaced));
  text += fmt::format("written to {}: {}\n", printable(options.written_to().string()),
                      result.dropped.empty() ? "the policy is new, the weights are unchanged"
                                             : "a model without the dropped exits, and its policy");
  return text;
}

}  // namespace offramp::cli
