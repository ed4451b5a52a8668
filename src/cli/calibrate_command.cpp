#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/engine.h"
#include "cli/evaluate.h"
#include "cli/evidence.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "graph/cost.h"
#include "policy/binomial.h"
#include "policy/calibration.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;

struct Flags {
  std::string model, data, out, reference;
  std::string criterion = "confidence", ensemble = "off";
  std::optional<double> threshold, max_accuracy_drop, max_cost, guarantee;
  double delta = 0.05;
  bool label_free = false, per_class = false, json = false;
  EngineFlags engine;
};

void check_flags(const Flags& flags) {
  const int aims = flags.threshold.has_value() + flags.max_accuracy_drop.has_value() +
                   flags.max_cost.has_value() + flags.guarantee.has_value();
  if (aims != 1)
    throw UsageError(
        "calibrate: give one of --threshold, --max-accuracy-drop, --max-cost and --guarantee, got "
        "{}",
        aims);
  const auto in = [](const char* flag, std::optional<double> value, double low, double high) {
    if (value && !(*value > low && *value < high))
      throw UsageError("{}: expected a number between {} and {}, got {}", flag, low, high, *value);
  };
  in("--guarantee", flags.guarantee, 0, 1);
  in("--delta", flags.delta, 0, 1);
  if (flags.max_accuracy_drop && !(std::abs(*flags.max_accuracy_drop) <= 1))
    throw UsageError("--max-accuracy-drop: expected a fraction of 1, got {}",
                     *flags.max_accuracy_drop);
  if (flags.max_cost && !(*flags.max_cost > 0))
    throw UsageError("--max-cost: expected a relative cost above 0, got {}", *flags.max_cost);
  if (!flags.reference.empty() && !flags.max_accuracy_drop)
    throw UsageError("--reference: is for --max-accuracy-drop only");
  if ((flags.label_free || flags.per_class) && !flags.guarantee)
    throw UsageError("{}: is for --guarantee only",
                     flags.label_free ? "--label-free" : "--per-class");
}

std::string aim_text(const Flags& flags) {
  std::string text;
  if (flags.threshold) text = fmt::format("--threshold {}", *flags.threshold);
  if (flags.max_accuracy_drop)
    text = fmt::format("--max-accuracy-drop {}{}", *flags.max_accuracy_drop,
                       flags.reference.empty() ? "" : " --reference " + flags.reference);
  if (flags.max_cost) text = fmt::format("--max-cost {}", *flags.max_cost);
  if (flags.guarantee)
    text = fmt::format("--guarantee {} --delta {}{}", *flags.guarantee, flags.delta,
                       flags.label_free ? " --label-free" : "");
  return text;
}

/// A model's own tune or certify images, with its logits for them.
class OwnImages {
 public:
  OwnImages(const Flags& flags, const Model& model) : flags_(flags), model_(model) {
    LoadOptions options;
    options.height = model.preprocessing.height;
    options.width = model.preprocessing.width;
    options.fit = model.preprocessing.fit;
    loaded_ = load_data(flags.data, Part::train, options);
    check_same_classes(model, loaded_.dataset);
  }

  SavedLogits logits(Predictor& predictor, const std::vector<std::uint64_t>& hashes,
                     const char* part) const {
    if (hashes.empty())
      throw Error("{}: the model does not say which images are its {} part", flags_.model, part);
    EvaluationSet set{&loaded_.dataset, images_listed(loaded_.dataset, hashes),
                      &model_.preprocessing,
                      flags_.engine.batch > 0 ? flags_.engine.batch : kEvaluationBatch};
    if (set.indices.empty())
      throw Error("{}: holds no image of the model's {} part", flags_.data, part);
    refuse_trained_images(model_, loaded_.dataset, set.indices);
    return run_all_exits(predictor, set);
  }

 private:
  const Flags& flags_;
  const Model& model_;
  LoadedData loaded_;
};

double accuracy_of_last(const LogitsView& view) {
  std::int64_t right = 0;
  for (std::int64_t i = 0; i < view.images(); ++i)
    right += argmax(view.at(view.exits - 1, i)) == view.labels[static_cast<std::size_t>(i)];
  return static_cast<double>(right) / static_cast<double>(view.images());
}

double reference_accuracy(const Flags& flags, const LogitsView& tune, const Model& model) {
  if (flags.reference.empty()) return accuracy_of_last(tune);
  const Model reference = load_model(flags.reference);
  const auto predictor = open_engine(reference, flags.engine);
  Flags of_reference = flags;
  of_reference.model = flags.reference;
  // The other model on this model's tune images: refused if it was trained on them.
  const OwnImages images(of_reference, reference);
  return accuracy_of_last(
      images.logits(*predictor, model.provenance.data.tune, "tune").view());
}

/// The class with the highest bound of its own rate; all of them hold together at the level.
struct WorstClass {
  std::string name;
  std::int64_t images = 0, harmed = 0;
  double upper_bound = 0;
};

WorstClass worst_class(const Model& model, const CertifiedPolicy& certified,
                       const LogitsView& view, bool label_free) {
  const Judgements judged = judge(certified.policy, view.logits, view.classes);
  const auto harmless = harmless_table(judged, view.labels, label_free);
  const auto n = static_cast<std::size_t>(view.images());
  std::vector<std::int64_t> images(model.classes.size()), harmed(model.classes.size());
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t k = 0;
    while (k + 1 < static_cast<std::size_t>(view.exits) &&
           !(certified.policy.thresholds[k] &&
             judged.scores[k * n + i] >= *certified.policy.thresholds[k]))
      ++k;
    const auto label = static_cast<std::size_t>(view.labels[i]);
    ++images[label];
    harmed[label] += !harmless[k * n + i];
  }
  WorstClass worst;
  const double level = certified.level / static_cast<double>(model.classes.size());
  for (std::size_t c = 0; c < images.size(); ++c) {
    const double bound = images[c] == 0 ? 1 : clopper_pearson_upper(harmed[c], images[c], level);
    if (bound > worst.upper_bound) worst = {model.classes[c], images[c], harmed[c], bound};
  }
  return worst;
}

struct Result {
  Policy policy;
  bool met = true;
  bool shared = false;
  std::int64_t tune_images = 0;
  double accuracy = 0, last_accuracy = 0, relative_cost = 0;  // on tune
  std::vector<double> shares;                                 // on tune
  std::optional<CertifiedPolicy> certified;
  std::optional<WorstClass> worst;
};

void measure_on_tune(const LogitsView& tune, const std::vector<double>& costs, Result& result) {
  const Judgements judged = judge(result.policy, tune.logits, tune.classes);
  const auto n = static_cast<std::size_t>(tune.images());
  result.tune_images = tune.images();
  result.shares.assign(costs.size(), 0);
  std::int64_t right = 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t k = 0;
    while (k + 1 < costs.size() && !(result.policy.thresholds[k] &&
                                     judged.scores[k * n + i] >= *result.policy.thresholds[k]))
      ++k;
    right += judged.answers[k * n + i] == tune.labels[i];
    result.shares[k] += 1.0 / static_cast<double>(n);
  }
  result.accuracy = static_cast<double>(right) / static_cast<double>(n);
  result.relative_cost = 0;
  for (std::size_t k = 0; k < costs.size(); ++k)
    result.relative_cost += result.shares[k] * costs[k];
  result.last_accuracy = accuracy_of_last(tune);
}

json threshold_json(const Thresholds& thresholds) {
  json array = json::array();
  for (const auto& threshold : thresholds)
    array.push_back(threshold ? json(*threshold) : json(nullptr));
  return array;
}

void print_json(const Flags& flags, const Result& result) {
  json object = {{"model", flags.model},
                 {"aim", aim_text(flags)},
                 {"met", result.met},
                 {"criterion", to_string(result.policy.criterion)},
                 {"ensemble", to_string(result.policy.ensemble)},
                 {"thresholds", threshold_json(result.policy.thresholds)},
                 {"temperatures", result.policy.temperatures},
                 {"tune",
                  {{"images", result.tune_images},
                   {"accuracy", result.accuracy},
                   {"accuracy_of_last_exit", result.last_accuracy},
                   {"relative_cost", result.relative_cost},
                   {"shares", result.shares},
                   {"executed", false}}}};
  object["guarantee"] = nullptr;
  if (result.certified) {
    const CertifiedPolicy& certified = *result.certified;
    object["guarantee"] = {{"of", flags.label_free ? "disagreement" : "harm"},
                           {"epsilon", *flags.guarantee},
                           {"delta", flags.delta},
                           {"level", certified.level},
                           {"images", certified.images},
                           {"images_needed", certified.images_needed},
                           {"certified", certified.certified.has_value()}};
    if (certified.certified) {
      object["guarantee"]["counted"] = certified.certified->harmed;
      object["guarantee"]["upper_bound"] = certified.certified->upper_bound;
    }
    if (result.worst)
      object["guarantee"]["worst_class"] = {{"class", result.worst->name},
                                            {"images", result.worst->images},
                                            {"counted", result.worst->harmed},
                                            {"upper_bound", result.worst->upper_bound}};
  }
  write_out(object.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

std::string guarantee_text(const Flags& flags, const Result& result, int attempt) {
  const CertifiedPolicy& certified = *result.certified;
  const char* of = flags.label_free ? "answers that differ from the last exit's" : "harm";
  if (!certified.certified || certified.certified->index == 0) {
    if (certified.images < certified.images_needed)
      return fmt::format(
          "nothing is certified: {} certify images are too few, {} are needed for {} ≤ {} with "
          "probability {}; every image goes to the last exit\n",
          with_commas(certified.images), with_commas(certified.images_needed), of,
          *flags.guarantee, 1 - flags.delta);
    return fmt::format(
        "nothing is certified: even the most careful thresholds exceed {} ≤ {}; every image goes "
        "to the last exit\n",
        of, *flags.guarantee);
  }
  std::string text = fmt::format(
      "certified: {} ≤ {} with probability ≥ {} on images like these ({} of {} counted, bound {:.4f}"
      "{})\n",
      of, *flags.guarantee, 1 - flags.delta, certified.certified->harmed,
      with_commas(certified.images), certified.certified->upper_bound,
      attempt > 1 ? fmt::format(", corrected: certificate {} from these images", attempt) : "");
  if (result.worst)
    text += fmt::format("worst class: {} ({} of {}, bound {:.4f} for all classes together)\n",
                        printable(result.worst->name), result.worst->harmed,
                        with_commas(result.worst->images), result.worst->upper_bound);
  return text;
}

void print_text(const Flags& flags, const Result& result, const std::string& out, int attempt) {
  const bool color = may_color(stdout);
  std::string text = heading(fmt::format("{} → {}", aim_text(flags), printable(out)), color) + "\n";
  Table table({"exit", "stop where " + std::string(to_string(result.policy.criterion)) + " ≥",
               "temperature", "share of tune"});
  for (std::size_t k = 0; k < result.policy.temperatures.size(); ++k) {
    const bool last = k + 1 == result.policy.temperatures.size();
    std::string threshold = "always";
    if (!last)
      threshold = result.policy.thresholds[k] ? fmt::format("{:.4f}", *result.policy.thresholds[k])
                                              : "never";
    table.add({std::to_string(k + 1), threshold,
               fmt::format("{:.3f}", result.policy.temperatures[k]), percent(result.shares[k])});
  }
  text += table.text(color);
  text += fmt::format(
      "\non its {} tune images (replayed): accuracy {} at relative cost {:.3f}; the last exit alone "
      "{}\n",
      with_commas(result.tune_images), percent(result.accuracy), result.relative_cost,
      percent(result.last_accuracy));
  if (!result.met)
    text += "the aim cannot be met on tune: every image goes to the last exit\n";
  if (result.certified) text += guarantee_text(flags, result, attempt);
  write_out(text);
}

int run(const Flags& flags) {
  check_flags(flags);
  const PolicyShape shape{criterion_from_string(flags.criterion),
                          ensemble_from_string(flags.ensemble)};
  Tensors extra;
  Model model = load_model(flags.model, &extra);
  const Cost cost = cost_of(model.graph);
  std::vector<double> costs;
  for (std::size_t k = 0; k < cost.exit_macs.size(); ++k)
    costs.push_back(cost.relative(static_cast<int>(k)));
  if (costs.size() < 2) throw Error("{}: has no early exit to stop at", flags.model);

  const auto predictor = open_engine(model, flags.engine);
  const OwnImages images(flags, model);
  const SavedLogits tune = images.logits(*predictor, model.provenance.data.tune, "tune");
  const Policy fitted = fit_policy(shape, tune.view());
  Result result;
  ChosenPolicy chosen;
  chosen.aim = aim_text(flags);
  if (flags.guarantee) {
    const SavedLogits certify =
        images.logits(*predictor, model.provenance.data.certify, "certify");
    ++model.certificates;
    GuaranteeAim aim{*flags.guarantee, flags.delta, flags.label_free, model.certificates};
    result.certified = guarantee(fitted, tune.view(), certify.view(), costs, aim);
    result.policy = result.certified->policy;
    if (flags.per_class)
      result.worst = worst_class(model, *result.certified, certify.view(), flags.label_free);
    if (result.certified->certified)
      chosen.guarantee = Guarantee{flags.label_free ? "disagreement" : "harm",
                                   *flags.guarantee,
                                   flags.delta,
                                   result.certified->level,
                                   result.certified->images,
                                   result.certified->certified->harmed,
                                   result.certified->certified->upper_bound,
                                   flags.engine.precision};
  } else {
    ThresholdAim aim;
    if (flags.threshold) aim.threshold = static_cast<float>(*flags.threshold);
    if (flags.max_cost) aim.most_relative_cost = *flags.max_cost;
    if (flags.max_accuracy_drop)
      aim.least_accuracy =
          reference_accuracy(flags, tune.view(), model) - *flags.max_accuracy_drop;
    const Chosen found = choose_thresholds(fitted, tune.view(), costs, aim);
    result.policy = found.policy;
    result.met = found.met;
    result.shared = found.shared;
  }
  measure_on_tune(tune.view(), costs, result);
  chosen.policy = result.policy;
  model.policy = chosen;
  const std::string out = flags.out.empty() ? flags.model : flags.out;
  save_model(out, model, extra);
  if (flags.json)
    print_json(flags, result);
  else
    print_text(flags, result, out, model.certificates);
  return 0;
}

}  // namespace

void add_calibrate_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "calibrate", "Choose when a model stops, with a guarantee if wanted, and write it into its file");
  command->add_option("model", flags->model, "Model file")->required();
  command
      ->add_option("--data", flags->data,
                   "The data set it was trained on; its tune and certify images are found in it")
      ->required();
  command->add_option("--out", flags->out, "Write to this file instead of the model's own");
  command->add_option("--threshold", flags->threshold, "This threshold at every early exit");
  command->add_option("--max-accuracy-drop", flags->max_accuracy_drop,
                      "Cheapest within this much of the last exit's accuracy on tune: 0.005");
  command->add_option("--reference", flags->reference,
                      "Measure the drop from this model's accuracy instead");
  command->add_option("--max-cost", flags->max_cost,
                      "Most accurate at this mean relative cost on tune: 0.5");
  command->add_option("--guarantee", flags->guarantee,
                      "Cheapest whose rate of harm is certified to be at most this: 0.01");
  command
      ->add_option("--delta", flags->delta, "With --guarantee: probability that it does not hold")
      ->capture_default_str();
  command->add_flag("--label-free", flags->label_free,
                    "With --guarantee: bound the rate of answers other than the last exit's");
  command->add_flag("--per-class", flags->per_class, "With --guarantee: also show the worst class");
  command->add_option("--criterion", flags->criterion, "confidence, entropy, margin or patience")
      ->capture_default_str();
  command
      ->add_option("--ensemble", flags->ensemble,
                   "What an exit answers with: off, or the mean, geometric or weighted mean of the "
                   "exits so far")
      ->capture_default_str();
  command->add_flag("--json", flags->json, "Print JSON");
  add_engine_flags(*command, flags->engine);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
