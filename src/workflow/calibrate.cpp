#include "workflow/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/overloaded.h"
#include "graph/cost.h"
#include "model/certified_hash.h"
#include "model/remove_exits.h"
#include "policy/predict_guarantee.h"
#include "workflow/calibration_warnings.h"
#include "workflow/certificate_count.h"
#include "workflow/evaluate.h"
#include "workflow/exit_times.h"
#include "workflow/output_file.h"
#include "workflow/provenance.h"
#include "workflow/selected_images.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;

/// A file name that can be stored in a model file, which holds UTF-8 only.
std::string storable_name(const fs::path& path) {
  std::string name = path.filename().string();
  try {
    static_cast<void>(nlohmann::json(name).dump());
    return name;
  } catch (const nlohmann::json::exception&) {
    return "?";  // the name is not valid UTF-8
  }
}

/// The aim with the name of the reference model, as the model file stores it.
policy::Aim storable_aim(const CalibrateOptions& options) {
  policy::Aim aim = options.aim;
  if (auto* drop = std::get_if<policy::AccuracyDrop>(&aim))
    drop->reference = options.reference.empty() ? "" : storable_name(options.reference);
  return aim;
}

/// The training part of a data set, loaded at the size that a model expects. The model must outlive
/// the object.
class CalibrationData {
 public:
  CalibrationData(fs::path path, const model::ModelFile& model, const CalibrateOptions& options)
      : path_(std::move(path)), model_(model), options_(options) {
    loaded_ = data::load_data(options.data, data::Part::train, load_options(model));
    if (options.label_free) return;
    try {
      check_same_classes(model_, loaded_.dataset);
    } catch (const Error& error) {
      core::throw_with_place(path_.string(), error);
    }
  }

  /// Finds the images that `hashes` lists. @param part  "tune" or "certify"
  /// @throws as find_listed_images
  ListedImages find(const std::vector<std::uint64_t>& hashes, const char* part) const {
    return find_listed_images(path_, model_, loaded_.dataset, hashes, part, options_.data);
  }

  /// Keeps one of several exact copies of an image: a bound for independent images cannot count
  /// copies. @return the number of images left out
  std::int64_t leave_out_copies(ListedImages& listed) const {
    return workflow::leave_out_copies(loaded_.dataset, listed.indices);
  }

  /// Computes the logits of all exits.
  /// @throws Error if a logit is not a finite number, because scores computed from it are useless
  eval::SavedLogits logits(core::Predictor& predictor, const ListedImages& listed,
                           const Progress& progress) const {
    eval::SavedLogits saved = run_all_exits(
        predictor,
        {&loaded_.dataset, listed.indices, &model_.preprocessing, options_.run.images_at_once()},
        progress);
    const auto bad =
        std::ranges::find_if_not(saved.logits, [](float z) { return std::isfinite(z); });
    if (bad == saved.logits.end()) {
      if (options_.label_free) saved.labels = last_exit_answers(saved.view());
      return saved;
    }
    const auto row = static_cast<std::size_t>(bad - saved.logits.begin()) /
                     static_cast<std::size_t>(saved.classes);
    const std::int64_t image = listed.indices[row % listed.indices.size()];
    throw Error(fmt::format("{}: exit {} gives a logit of {} for {}; the model cannot be used",
                            path_.string(), row / listed.indices.size() + 1, *bad,
                            core::quote(loaded_.dataset.names[static_cast<std::size_t>(image)])));
  }

  /// The first images, normalised for the network; at most one batch.
  std::vector<float> first_batch(const ListedImages& listed) const {
    const std::size_t count =
        std::min(listed.indices.size(), static_cast<std::size_t>(options_.run.images_at_once()));
    return normalised_images(loaded_.dataset, std::span(listed.indices).first(count),
                             model_.preprocessing);
  }

 private:
  fs::path path_;
  const model::ModelFile& model_;
  const CalibrateOptions& options_;
  data::LoadedData loaded_;
};

double accuracy_of_last(const policy::LogitsView& view) {
  std::int64_t right = 0;
  for (std::int64_t i = 0; i < view.images(); ++i)
    right += policy::argmax(view.at(view.exits - 1, i)) == view.labels[static_cast<std::size_t>(i)];
  return static_cast<double>(right) / static_cast<double>(view.images());
}

/// The result of a policy on images whose logits are saved. It owns the data that its PolicyOutcome
/// points to.
struct ReplayedPolicy {
  ReplayedPolicy(const policy::LogitsView& view, const policy::Policy& policy,
                 policy::HarmReference against)
      : labels(view.labels.begin(), view.labels.end()),
        stopped(replay(view, policy)),
        references(policy::reference_answers(policy, view, against)) {}
  eval::PolicyOutcome outcome() const {
    return {labels, stopped.exit_index, stopped.answers, references};
  }

  std::vector<std::int64_t> labels;
  StoppedAnswers stopped;
  std::vector<std::int64_t> references;
};

/// The standard error of the policy's accuracy minus the last exit's.
double standard_error(const policy::LogitsView& view, const ReplayedPolicy& replayed) {
  const std::vector<std::int64_t> last = last_exit_answers(view);
  std::int64_t gained = 0, lost = 0;
  for (std::size_t i = 0; i < last.size(); ++i) {
    const bool ours = replayed.stopped.answers[i] == replayed.labels[i];
    const bool theirs = last[i] == replayed.labels[i];
    gained += ours && !theirs;
    lost += !ours && theirs;
  }
  return eval::paired_standard_error(gained, lost, view.images());
}

eval::SavedLogits logits_without_exits(const eval::SavedLogits& all,
                                       const std::vector<int>& dropped) {
  eval::SavedLogits kept;
  kept.classes = all.classes;
  kept.labels = all.labels;
  kept.hashes = all.hashes;
  const auto rows =
      static_cast<std::ptrdiff_t>(all.labels.size() * static_cast<std::size_t>(all.classes));
  for (int k = 0; k < all.exits; ++k) {
    if (std::ranges::binary_search(dropped, k)) continue;
    kept.logits.insert(kept.logits.end(), all.logits.begin() + k * rows,
                       all.logits.begin() + (k + 1) * rows);
    ++kept.exits;
  }
  return kept;
}

/// The model without some of its early exits, with the policy chosen for it on the tune images.
struct Candidate {
  std::vector<int> dropped;  ///< 0-based indices of the removed exits
  ExitCosts costs;
  eval::SavedLogits tune;  ///< logits of the remaining exits
  policy::Policy fitted;   ///< temperatures and ensemble weights, without thresholds
  policy::ChosenThresholds chosen;
};

/// The model whose accuracy an AccuracyDrop refers to. `data` is null if it is the calibrated model
/// itself.
struct Reference {
  model::ModelFile model;
  std::unique_ptr<CalibrationData> data;
  ListedImages tune;
};

class Calibrator {
 public:
  Calibrator(const CalibrateOptions& options, std::optional<model::ModelFile> derived,
             const Progress& progress)
      : options_(options),
        progress_(progress),
        aim_(storable_aim(options)),
        harm_aim_(std::get_if<policy::HarmGuarantee>(&aim_)),
        is_derived_(derived.has_value()),
        model_(is_derived_ ? std::move(*derived) : model::load_model(options.model, &extra_)),
        exits_(static_cast<int>(graph::exit_segments(model_.graph).size())) {
    if (exits_ < 2)
      throw Error(fmt::format("{}: has no early exit, so there is nothing to choose", path()));
    check_output("out", options_.written_to(), {options_.data, options_.reference});
    // All checks of the input come before the first image is run, because running takes long.
    if (!options.reference.empty()) open_reference();
    data_ = std::make_unique<CalibrationData>(options.model, model_, options);
    tune_ = data_->find(model_.provenance.data.tune, "tune");
    check_visible(aim_, static_cast<std::int64_t>(tune_.indices.size()));
    if (harm_aim_) {
      certify_ = data_->find(model_.provenance.data.certify, "certify");
      copies_ = data_->leave_out_copies(certify_);
      check_parts_apart();
      prepare(policy::Policy{}, model_.certificates + 1);
    }
    predictor_ = open_model(model_, options.run, progress);
  }

  Calibrator(const Calibrator&) = delete;

  Calibration run() {
    all_ = data_->logits(*predictor_, tune_, progress_);
    Calibration result;
    result.classes = model_.classes;
    result.precision = to_string(predictor_->precision());
    result.kernels = predictor_->kernels();
    if (const auto* drop = std::get_if<policy::AccuracyDrop>(&aim_)) {
      reference_accuracy_ = measure_reference();
      result.least_accuracy = reference_accuracy_ - drop->max_drop;
    }
    Candidate best = candidate_without({});
    if (options_.drop_useless_exits && best.chosen.met) remove_useless_exits(best);

    model::ModelFile deployed = best.dropped.empty() ? model_ : remove_exits(model_, best.dropped);
    result.met = best.chosen.met;
    result.chosen.policy = best.chosen.policy;
    result.chosen.aim = aim_;
    if (harm_aim_) {
      result.certification = certify(best, deployed);
      result.met = result.certification->result.holds();
      result.chosen = policy::certified_policy(result.certification->result, *harm_aim_,
                                               result.precision, predictor_->certified_code());
    }
    if (!result.met) {
      // The policy uses the last exit alone, because an ensemble may be less accurate.
      result.chosen.policy.ensemble = policy::Ensemble::off;
      result.chosen.policy.ensemble_weights.clear();
    }
    result.costs = best.costs;
    result.dropped = best.dropped;
    result.against = policy::harm_reference(result.chosen);
    const ReplayedPolicy replayed(best.tune.view(), result.chosen.policy, result.against);
    result.tune = {static_cast<std::int64_t>(replayed.labels.size()),
                   tune_.missing,
                   accuracy_of_last(best.tune.view()),
                   standard_error(best.tune.view(), replayed),
                   best.chosen.held_out_accuracy,
                   eval::measure_policy(replayed.outcome(), best.costs.relative)};
    result.warnings = calibration_warnings(aim_, result.chosen.policy, best.tune.view(),
                                           result.tune.standard_error);
    result.chosen.seen = {result.tune.images, result.tune.metrics.shares};
    write(std::move(deployed), result);
    return result;
  }

 private:
  std::string path() const { return options_.model.string(); }

  void check_parts_apart() const {
    const auto& [source, train, tune, certify] = model_.provenance.data;
    std::vector<std::uint64_t> both;
    std::ranges::set_intersection(tune, certify, std::back_inserter(both));
    if (!both.empty())
      throw Error(fmt::format(
          "{}: {} images are in both its tune and its certify part, so a policy chosen on them "
          "cannot be certified on them",
          path(), both.size()));
  }

  /// The part of the certificate that is known before its images are evaluated.
  /// @throws Error if earlier attempts have used up delta
  policy::CertificationResult prepare(const policy::Policy& policy, int attempt) const {
    try {
      return policy::prepare_certification(
          policy, *harm_aim_, static_cast<std::int64_t>(certify_.indices.size()), attempt);
    } catch (const Error&) {  // Other values were checked before, so delta is used up.
      throw Error(fmt::format(
          "{}: {} attempts to certify with its certify images have used up delta {}; no further "
          "attempt is possible",
          path(), attempt - 1, harm_aim_->delta));
    }
  }

  /// Loads the reference model and finds this model's tune images for it.
  /// @throws TrainedOnImages if the reference model was trained on them
  void open_reference() {
    reference_.model = model::load_model(options_.reference);
    reference_.data =
        std::make_unique<CalibrationData>(options_.reference, reference_.model, options_);
    reference_.tune = reference_.data->find(model_.provenance.data.tune, "tune");
  }

  double measure_reference() const {
    if (!reference_.data) return accuracy_of_last(all_.view());
    const auto predictor = open_model(reference_.model, options_.run, progress_);
    return accuracy_of_last(reference_.data->logits(*predictor, reference_.tune, progress_).view());
  }

  ExitCosts costs_without(const std::vector<int>& dropped) const {
    ExitCosts costs;
    if (policy::cost_unit_of(aim_) == policy::CostUnit::macs) {
      costs.relative = graph::cost_of(remove_exits(model_.graph, dropped)).relative_costs();
      return costs;
    }
    std::shared_ptr<engine::OpenedModel> other;
    if (!dropped.empty())
      other = open_model(remove_exits(model_, dropped), in_same_precision(), progress_);
    core::Predictor* predictor = other ? other.get() : predictor_.get();
    std::vector<TimedRun> runs;
    for (int k = 0; k < predictor->num_exits(); ++k) runs.push_back({predictor, k});
    // All costs are relative to the last exit of the complete model, timed in the same rounds.
    if (other) runs.push_back({predictor_.get(), exits_ - 1});
    costs.ms = measure_ms(runs, data_->first_batch(tune_));
    const double whole_apart = costs.ms.back();
    costs.ms.resize(static_cast<std::size_t>(predictor->num_exits()));
    for (std::size_t k = 1; k < costs.ms.size(); ++k)
      costs.ms[k] = std::max(costs.ms[k], costs.ms[k - 1]);
    const double whole = other ? whole_apart : costs.ms.back();
    for (const double ms : costs.ms) costs.relative.push_back(ms / whole);
    return costs;
  }

  policy::ChosenThresholds choose(const Candidate& candidate) const {
    const policy::LogitsView tune = candidate.tune.view();
    const policy::Policy& fitted = candidate.fitted;
    const std::vector<double>& costs = candidate.costs.relative;
    return std::visit(core::overloaded{[&](const policy::FixedThreshold& aim) {
                                         return policy::choose_thresholds(fitted, tune, costs, aim);
                                       },
                                       [&](const policy::AccuracyDrop& aim) {
                                         return policy::choose_thresholds(fitted, tune, costs, aim,
                                                                          reference_accuracy_);
                                       },
                                       [&](const policy::MaxCost& aim) {
                                         return policy::choose_thresholds(fitted, tune, costs, aim);
                                       },
                                       [&](const policy::HarmGuarantee& aim) {
                                         return policy::predict_guarantee(
                                             fitted, tune, costs, aim,
                                             static_cast<std::int64_t>(certify_.indices.size()),
                                             model_.certificates + 1);
                                       }},
                      aim_);
  }

  Candidate candidate_without(std::vector<int> dropped) const {
    Candidate candidate;
    candidate.costs = costs_without(dropped);
    candidate.tune = logits_without_exits(all_, dropped);
    candidate.dropped = std::move(dropped);
    candidate.fitted = policy::fit_policy(options_.shape, candidate.tune.view());
    candidate.chosen = choose(candidate);
    return candidate;
  }

  /// True if `chosen` meets the aim at least as well as `than`.
  bool meets_aim_as_well(const policy::ChosenThresholds& chosen,
                         const policy::ChosenThresholds& than) const {
    if (!chosen.met) return false;
    const bool cheaper = chosen.relative_cost <= than.relative_cost;
    const bool as_accurate = cheaper && chosen.accuracy >= than.accuracy;
    return std::visit(
        core::overloaded{
            [&](const policy::FixedThreshold&) { return as_accurate; },
            [&](const policy::MaxCost&) { return as_accurate || chosen.accuracy > than.accuracy; },
            [&](const core::OneOf<policy::AccuracyDrop, policy::HarmGuarantee> auto&) {
              return cheaper;
            }},
        aim_);
  }

  /// Removes early exits one at a time, as long as the aim is met at least as well without one. Of
  /// several such exits, it removes the one without which the result is best.
  void remove_useless_exits(Candidate& best) const {
    for (;;) {
      std::optional<Candidate> next;
      for (int k = 0; k + 1 < exits_; ++k) {
        std::vector<int> dropped = best.dropped;
        const auto place = std::ranges::lower_bound(dropped, k);
        if (place != dropped.end() && *place == k) continue;
        dropped.insert(place, k);
        Candidate without = candidate_without(std::move(dropped));
        if (meets_aim_as_well(without.chosen, next ? next->chosen : best.chosen))
          next = std::move(without);
      }
      if (!next) return;
      best = std::move(*next);
    }
  }

  /// @throws Error if the model in the file is another one than when the calibration began
  void check_unchanged(const model::ModelFile& now) const {
    if (now.graph != model_.graph || (!is_derived_ && now.weights != model_.weights) ||
        now.provenance.data.certify != model_.provenance.data.certify)
      throw Error(
          fmt::format("{}: the file was changed during the calibration; run it again", path()));
  }

  /// Options to open the model without some exits. It must run in the same precision as the whole
  /// model, for which costs and certificates hold; "auto" could choose another one.
  RunOptions in_same_precision() const {
    RunOptions run = options_.run;
    run.precision = to_string(predictor_->precision());
    return run;
  }

  Certification certify(const Candidate& best, const model::ModelFile& deployed) {
    Certification certification;
    certification.missing = certify_.missing;
    certification.copies = copies_;
    // If there are too few images, this is known before any is evaluated: no attempt is counted.
    // The derived model may have a higher count than the file, and the higher one is correct.
    const std::optional<int> attempt = count_certify_use(
        options_.model, model_.certificates, [&](const model::ModelFile& now, int use) {
          check_unchanged(now);
          certification.result = prepare(best.fitted, use);
          return certification.result.has_enough_images();
        });
    if (!attempt) return certification;
    model_.certificates = *attempt;
    certification.was_attempted = true;
    std::shared_ptr<engine::OpenedModel> other;
    if (!best.dropped.empty()) other = open_model(deployed, in_same_precision(), progress_);
    const eval::SavedLogits logits =
        data_->logits(other ? *other : *predictor_, certify_, progress_);
    certification.result = policy::guarantee(best.fitted, best.tune.view(), logits.view(),
                                             best.costs.relative, *harm_aim_, model_.certificates);
    if (options_.worst_class && certification.result.holds())
      certification.worst = eval::worst_class(
          ReplayedPolicy(logits.view(), certification.result.policy, harm_aim_->against).outcome(),
          logits.classes, harm_aim_->label_free, certification.result.level);
    return certification;
  }

  bool replaces_own_file() const {
    std::error_code ignored;
    return !is_derived_ &&
           (options_.out.empty() || fs::equivalent(options_.out, options_.model, ignored));
  }

  void write(model::ModelFile deployed, Calibration& result) {
    const core::FileLock lock = lock_to_change(options_.written_to());
    // Other processes may have counted attempts during this run, or trained the model further.
    if (replaces_own_file()) {
      const model::ModelFile now = model::load_model(options_.model, &extra_);
      check_unchanged(now);
      deployed.certificates = std::max(model_.certificates, now.certificates);
      if (now.policy) result.replaced = policy::describe_aim(now.policy->aim);
    } else {
      deployed.certificates =
          std::max({model_.certificates, model::load_model(options_.model).certificates,
                    recorded_attempts(options_.written_to(), model_)});
    }
    deployed.policy = result.chosen;
    if (result.chosen.guarantee) {
      result.chosen.guarantee->hash = model::certified_hash(deployed);
      deployed.policy = result.chosen;
    }
    result.training_state_dropped = !result.dropped.empty() && !extra_.empty();
    model::save_model(options_.written_to(), deployed,
                      result.dropped.empty() ? extra_ : core::Tensors{});
  }

  const CalibrateOptions& options_;
  const Progress& progress_;
  policy::Aim aim_;
  const policy::HarmGuarantee* harm_aim_;  ///< points into aim_; null for another aim
  bool is_derived_;  ///< model_ was derived from the one in options_.model; false: it is that model
  core::Tensors extra_;  ///< tensors of the file besides the weights
  model::ModelFile model_;
  int exits_;
  std::unique_ptr<CalibrationData> data_;
  ListedImages tune_, certify_;
  std::int64_t copies_ = 0;  ///< number of copies that were left out of certify_
  Reference reference_;
  std::shared_ptr<engine::OpenedModel> predictor_;
  eval::SavedLogits all_;  ///< logits of all exits, on the tune images
  double reference_accuracy_ = 0;
};

}  // namespace

void check(const CalibrateOptions& options) {
  check(options.aim, options.shape.criterion);
  const auto only_for = [](bool given, const char* field, bool fits, const char* aim) {
    if (given && !fits)
      throw UsageError(fmt::format("{}: can only be used with the aim {}", field, aim));
  };
  only_for(!options.reference.empty(), "reference",
           std::holds_alternative<policy::AccuracyDrop>(options.aim), "AccuracyDrop");
  const auto* harm = std::get_if<policy::HarmGuarantee>(&options.aim);
  if (harm && harm->against == policy::HarmReference::ensemble &&
      options.shape.ensemble == policy::Ensemble::off)
    throw UsageError("against: \"ensemble\" needs an ensemble, and it is off");
  if (options.label_free && (!options.reference.empty() || (harm && !harm->label_free)))
    throw UsageError(
        "label_free: cannot be combined with a reference model or a guarantee of harm, which need "
        "labels");
  only_for(options.worst_class, "worst_class",
           std::holds_alternative<policy::HarmGuarantee>(options.aim), "HarmGuarantee");
}

Calibration calibrate(const CalibrateOptions& options, const Progress& progress) {
  check(options);
  return Calibrator(options, {}, progress).run();
}

Calibration calibrate(const CalibrateOptions& options, model::ModelFile derived,
                      const Progress& progress) {
  check(options);
  OFFRAMP_ASSERT(!options.out.empty());
  return Calibrator(options, std::move(derived), progress).run();
}

}  // namespace offramp::workflow
