#include "cli/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <unordered_set>
#include <utility>

#include "cli/evaluate.h"
#include "cli/evidence.h"
#include "core/error.h"
#include "core/file.h"
#include "graph/cost.h"
#include "image/image.h"
#include "model/without_exits.h"
#include "policy/foresight.h"

namespace offramp::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kTimedRounds = 9;  // after one to warm up

/// Images that a model lists, in the data.
struct Listed {
  std::vector<std::int64_t> indices;
  std::int64_t missing = 0;  ///< listed, but not there
};

/// The data set of a model, at its size. The model must outlive it.
class ModelsData {
 public:
  ModelsData(const std::string& path, const ModelFile& model, const CalibrateFlags& flags)
      : path_(path), model_(model), flags_(flags) {
    LoadOptions options;
    options.height = model.preprocessing.height;
    options.width = model.preprocessing.width;
    options.fit = model.preprocessing.fit;
    loaded_ = load_data(flags.data, Part::train, options);
    at_model([&] { check_same_classes(model_, loaded_.dataset); });
  }

  /// Those that `hashes` list, none of them trained on. @param part  "tune" or "certify"
  Listed find(const std::vector<std::uint64_t>& hashes, const char* part) const {
    if (hashes.empty())
      throw Error("{}: the model does not say which images are its {} part", path_, part);
    Listed listed;
    listed.indices = images_listed(loaded_.dataset, hashes);
    if (listed.indices.empty())
      throw Error("{}: holds no image of the model's {} part", flags_.data, part);
    at_model([&] { refuse_trained_images(model_, loaded_.dataset, listed.indices, ""); });
    std::unordered_set<std::uint64_t> found, wanted(hashes.begin(), hashes.end());
    for (const std::int64_t i : listed.indices)
      found.insert(loaded_.dataset.hashes[static_cast<std::size_t>(i)]);
    listed.missing = static_cast<std::int64_t>(wanted.size() - found.size());
    return listed;
  }

  /// @throws Error if a logit is not a finite number: no score of it could be trusted
  SavedLogits logits(Predictor& predictor, const Listed& listed) const {
    SavedLogits saved = run_all_exits(
        predictor, {&loaded_.dataset, listed.indices, &model_.preprocessing, batch()});
    const auto bad =
        std::ranges::find_if_not(saved.logits, [](float z) { return std::isfinite(z); });
    if (bad == saved.logits.end()) return saved;
    const auto row = static_cast<std::size_t>(bad - saved.logits.begin()) /
                     static_cast<std::size_t>(saved.classes);
    const std::int64_t image = listed.indices[row % listed.indices.size()];
    throw Error("{}: exit {} gives a logit of {} for {}: nothing can be calibrated", path_,
                row / listed.indices.size() + 1, *bad,
                quote(loaded_.dataset.names[static_cast<std::size_t>(image)]));
  }

  /// The first images, as the network takes them: one batch at most.
  std::vector<float> first_batch(const Predictor& predictor, const Listed& listed) const {
    const auto size = static_cast<std::size_t>(predictor.image_size());
    const std::size_t count = std::min(listed.indices.size(), static_cast<std::size_t>(batch()));
    std::vector<float> images(count * size);
    for (std::size_t i = 0; i < count; ++i)
      normalise(loaded_.dataset.image(listed.indices[i]), model_.preprocessing,
                std::span(images).subspan(i * size, size));
    return images;
  }

 private:
  int batch() const { return flags_.engine.batch > 0 ? flags_.engine.batch : kEvaluationBatch; }

  template <typename Work>
  void at_model(const Work& work) const {
    try {
      work();
    } catch (const Error& error) {
      throw_with_place(path_, error);
    }
  }

  std::string path_;
  const ModelFile& model_;
  const CalibrateFlags& flags_;
  LoadedData loaded_;
};

double accuracy_of_last(const LogitsView& view) {
  std::int64_t right = 0;
  for (std::int64_t i = 0; i < view.images(); ++i)
    right += argmax(view.at(view.exits - 1, i)) == view.labels[static_cast<std::size_t>(i)];
  return static_cast<double>(right) / static_cast<double>(view.images());
}

/// What a policy does on images whose logits are known. Keeps what a PolicyOutcome looks at.
struct Replayed {
  Replayed(const LogitsView& view, const Policy& policy)
      : labels(view.labels.begin(), view.labels.end()), stopped(replay(view, policy)) {
    const Judgements judged = judge(policy, view.logits, view.classes);
    references.assign(judged.answers.end() - static_cast<std::ptrdiff_t>(labels.size()),
                      judged.answers.end());
  }
  PolicyOutcome outcome() const {
    return {labels, stopped.exit_index, stopped.answers, references};
  }

  std::vector<std::int64_t> labels;
  StoppedAnswers stopped;
  std::vector<std::int64_t> references;
};

SavedLogits keep_exits(const SavedLogits& all, const std::vector<int>& dropped) {
  SavedLogits kept;
  kept.classes = all.classes;
  kept.labels = all.labels;
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

struct TimedRun {
  Predictor* predictor;
  int exit_index;
};

/// Milliseconds an image when all stop at one exit: medians of rounds that take turns.
std::vector<double> measure_ms(const std::vector<TimedRun>& runs, std::span<const float> images) {
  std::vector<std::vector<double>> times(runs.size());
  for (int round = 0; round <= kTimedRounds; ++round)
    for (std::size_t r = 0; r < runs.size(); ++r) {
      const auto [predictor, last] = runs[r];
      const auto stop = [last = last](std::int64_t, int exit_index, std::span<const float>) {
        return exit_index == last;
      };
      const auto start = std::chrono::steady_clock::now();
      predictor->predict_until(images, stop);
      const std::chrono::duration<double, std::milli> time =
          std::chrono::steady_clock::now() - start;
      if (round > 0) times[r].push_back(time.count());
    }
  const double count = static_cast<double>(images.size()) /
                       static_cast<double>(runs.front().predictor->image_size());
  std::vector<double> medians;
  for (std::vector<double>& of_run : times) {
    const auto middle = of_run.begin() + kTimedRounds / 2;
    std::ranges::nth_element(of_run, middle);
    medians.push_back(*middle / count);
  }
  return medians;
}

/// The model with some of its early exits, and the best that can be made of it on tune.
struct Candidate {
  std::vector<int> dropped;
  ExitCosts costs;
  SavedLogits tune;
  Policy fitted;
  Chosen chosen;
};

/// A model that an accuracy is measured from; without data where that is the model itself.
struct Reference {
  ModelFile model;
  std::unique_ptr<ModelsData> data;
  Listed tune;
};

class Calibrator {
 public:
  Calibrator(const CalibrateFlags& flags, std::optional<ModelFile> made)
      : flags_(flags),
        aim_(aim_of(flags)),
        shape_{criterion_from_string(flags.criterion), ensemble_from_string(flags.ensemble)},
        made_(made.has_value()),
        model_(made_ ? std::move(*made) : load_model(flags.model, &extra_)),
        exits_(static_cast<int>(exit_segments(model_.graph).size())) {
    if (exits_ < 2)
      throw Error("{}: has no early exit, so there is nothing to choose", flags.model);
    check_out();
    // What can be refused is refused before the first image runs.
    if (!flags.reference.empty()) open_reference();
    data_ = std::make_unique<ModelsData>(flags.model, model_, flags);
    tune_ = data_->find(model_.provenance.data.tune, "tune");
    if (flags.guarantee) {
      certify_ = data_->find(model_.provenance.data.certify, "certify");
      check_parts_apart();
      check_level(model_.certificates + 1);
    }
    predictor_ = open_engine(model_, flags.engine);
  }

  Calibration run() {
    all_ = data_->logits(*predictor_, tune_);
    Calibration result;
    result.classes = model_.classes;
    result.engine = engine_for(model_, flags_.engine);
    if (flags_.max_accuracy_drop) {
      reference_accuracy_ = reference_accuracy();
      result.least_accuracy = reference_accuracy_ - *flags_.max_accuracy_drop;
    }
    Candidate best = consider({});
    if (flags_.drop_useless_exits && best.chosen.met) drop_useless(best);

    ModelFile deployed = best.dropped.empty() ? model_ : without_exits(model_, best.dropped);
    result.met = best.chosen.met;
    result.chosen.policy = best.chosen.policy;
    result.chosen.aim = aim_;
    if (flags_.guarantee) {
      result.certificate = draw_certificate(best, deployed);
      const CertificationResult& found = result.certificate->result;
      result.met = found.holds();
      result.chosen =
          certified_policy(found, guarantee_aim(), result.engine.precision, result.engine.kernels);
    }
    if (!result.met) {
      // The last exit itself, not an ensemble that may be worse.
      result.chosen.policy.ensemble = Ensemble::off;
      result.chosen.policy.ensemble_weights.clear();
    }
    result.costs = best.costs;
    result.dropped = best.dropped;
    const Replayed replayed(best.tune.view(), result.chosen.policy);
    result.tune = {static_cast<std::int64_t>(replayed.labels.size()), tune_.missing,
                   accuracy_of_last(best.tune.view()), best.chosen.held_out_accuracy,
                   measure_policy(replayed.outcome(), best.costs.relative)};
    result.chosen.seen = {result.tune.images, result.tune.metrics.shares};
    write(std::move(deployed), result);
    return result;
  }

 private:
  void check_out() const {
    const fs::path out = flags_.written_to();
    check_writable(out);
    std::error_code ignored;
    for (const std::string& input : {flags_.data, flags_.reference})
      if (fs::equivalent(out, input, ignored))
        throw UsageError("--out: {} is what is read, it must not be written over", out.string());
  }

  void check_parts_apart() const {
    const auto& [source, train, tune, certify] = model_.provenance.data;
    std::vector<std::uint64_t> both;
    std::ranges::set_intersection(tune, certify, std::back_inserter(both));
    if (!both.empty())
      throw Error(
          "{}: {} images are both in its tune and its certify part: what was chosen on them cannot "
          "be certified on them",
          flags_.model, both.size());
  }

  void check_level(int attempt) const {
    try {
      prepare_certification(never_stop(exits_), guarantee_aim(), 0, attempt);
    } catch (const Error&) {
      throw Error(
          "{}: {} certificates were drawn from its certify images: nothing of delta {} is left",
          flags_.model, attempt - 1, flags_.level());
    }
  }

  /// The other model, on this model's tune images: refused if it was trained on them.
  void open_reference() {
    reference_.model = load_model(flags_.reference);
    reference_.data = std::make_unique<ModelsData>(flags_.reference, reference_.model, flags_);
    reference_.tune = reference_.data->find(model_.provenance.data.tune, "tune");
  }

  double reference_accuracy() const {
    if (!reference_.data) return accuracy_of_last(all_.view());
    const auto predictor = open_engine(reference_.model, flags_.engine);
    return accuracy_of_last(reference_.data->logits(*predictor, reference_.tune).view());
  }

  ExitCosts costs_without(const std::vector<int>& dropped) const {
    ExitCosts costs;
    if (flags_.cost == "macs") {
      const Cost cost = cost_of(without_exits(model_.graph, dropped));
      for (std::size_t k = 0; k < cost.exit_macs.size(); ++k)
        costs.relative.push_back(cost.relative(static_cast<int>(k)));
      return costs;
    }
    std::unique_ptr<Predictor> other;
    if (!dropped.empty()) other = open_engine(without_exits(model_, dropped), flags_.engine);
    Predictor* predictor = other ? other.get() : predictor_.get();
    std::vector<TimedRun> runs;
    for (int k = 0; k < predictor->num_exits(); ++k) runs.push_back({predictor, k});
    // The measure of all is the last exit of the model as it came, timed in the same rounds.
    if (other) runs.push_back({predictor_.get(), exits_ - 1});
    costs.ms = measure_ms(runs, data_->first_batch(*predictor_, tune_));
    const double whole_apart = costs.ms.back();
    costs.ms.resize(static_cast<std::size_t>(predictor->num_exits()));
    for (std::size_t k = 1; k < costs.ms.size(); ++k)
      costs.ms[k] = std::max(costs.ms[k], costs.ms[k - 1]);
    const double whole = other ? whole_apart : costs.ms.back();
    for (const double ms : costs.ms) costs.relative.push_back(ms / whole);
    return costs;
  }

  HarmGuarantee guarantee_aim() const { return std::get<HarmGuarantee>(aim_); }

  Chosen choose(const Candidate& candidate) const {
    const LogitsView tune = candidate.tune.view();
    const auto with = [&](const auto& aim, auto... more) {
      return choose_thresholds(candidate.fitted, tune, candidate.costs.relative, aim, more...);
    };
    if (const auto* aim = std::get_if<FixedThreshold>(&aim_)) return with(*aim);
    if (const auto* aim = std::get_if<AccuracyDrop>(&aim_)) return with(*aim, reference_accuracy_);
    if (const auto* aim = std::get_if<MaxCost>(&aim_)) return with(*aim);
    return foresee_guarantee(candidate.fitted, tune, candidate.costs.relative, guarantee_aim(),
                             static_cast<std::int64_t>(certify_.indices.size()),
                             model_.certificates + 1);
  }

  Candidate consider(std::vector<int> dropped) const {
    Candidate candidate;
    candidate.costs = costs_without(dropped);
    candidate.tune = keep_exits(all_, dropped);
    candidate.dropped = std::move(dropped);
    candidate.fitted = fit_policy(shape_, candidate.tune.view());
    candidate.chosen = choose(candidate);
    return candidate;
  }

  /// Whether the aim is met at least as well.
  bool as_good(const Chosen& chosen, const Chosen& than) const {
    if (!chosen.met) return false;
    if (flags_.max_cost && chosen.accuracy > than.accuracy) return true;
    const bool as_right = chosen.accuracy >= than.accuracy;
    return chosen.relative_cost <= than.relative_cost &&
           (as_right || flags_.max_accuracy_drop || flags_.guarantee);
  }

  /// Takes out one exit after the other, each time the one that is missed least.
  void drop_useless(Candidate& best) const {
    for (;;) {
      std::optional<Candidate> next;
      for (int k = 0; k + 1 < exits_; ++k) {
        std::vector<int> dropped = best.dropped;
        const auto place = std::ranges::lower_bound(dropped, k);
        if (place != dropped.end() && *place == k) continue;
        dropped.insert(place, k);
        Candidate without = consider(std::move(dropped));
        if (as_good(without.chosen, next ? next->chosen : best.chosen)) next = std::move(without);
      }
      if (!next) return;
      best = std::move(*next);
    }
  }

  /// Writes that another certificate is being drawn, before anything of it is known: a run that is
  /// stopped in between has had its look.
  void count_certificate() {
    Tensors extra;
    ModelFile now = load_model(flags_.model, &extra);
    if (now.graph != model_.graph || (!made_ && now.weights != model_.weights) ||
        now.provenance.data.certify != model_.provenance.data.certify)
      throw Error("{}: changed while it was calibrated", flags_.model);
    // What was made of the model may stand for more draws than the model knows of.
    now.certificates = std::max(now.certificates, model_.certificates) + 1;
    check_level(now.certificates);
    try {
      save_model(flags_.model, now, extra);
    } catch (const Error& error) {
      throw Error("{}; a certificate is counted there first, so none was drawn", error.what());
    }
    model_.certificates = now.certificates;
  }

  Certificate draw_certificate(const Candidate& best, const ModelFile& deployed) {
    Certificate certificate;
    certificate.missing = certify_.missing;
    const HarmGuarantee aim = guarantee_aim();
    certificate.result =
        prepare_certification(best.fitted, aim, static_cast<std::int64_t>(certify_.indices.size()),
                              model_.certificates + 1);
    // Known beforehand: nothing is looked at, and nothing is spent.
    if (!certificate.result.has_enough_images()) return certificate;
    count_certificate();
    certificate.drawn = true;
    std::unique_ptr<Predictor> other;
    if (!best.dropped.empty()) other = open_engine(deployed, flags_.engine);
    const SavedLogits logits = data_->logits(other ? *other : *predictor_, certify_);
    certificate.result = guarantee(best.fitted, best.tune.view(), logits.view(),
                                   best.costs.relative, aim, model_.certificates);
    if (flags_.per_class && certificate.result.holds())
      certificate.worst = worst_class(Replayed(logits.view(), certificate.result.policy).outcome(),
                                      logits.classes, flags_.label_free, certificate.result.level);
    return certificate;
  }

  void write(ModelFile deployed, Calibration& result) const {
    if (flags_.out.empty() && model_.policy) result.replaced = describe_aim(model_.policy->aim);
    // Another run may have drawn a certificate meanwhile.
    deployed.certificates = std::max(model_.certificates, load_model(flags_.model).certificates);
    deployed.policy = result.chosen;
    result.state_left_out = !result.dropped.empty() && !extra_.empty();
    save_model(flags_.written_to(), deployed, result.dropped.empty() ? extra_ : Tensors{});
  }

  const CalibrateFlags& flags_;
  Aim aim_;
  PolicyShape shape_;
  bool made_;  ///< of the model in flags_.model, rather than that model itself
  Tensors extra_;
  ModelFile model_;
  int exits_;
  std::unique_ptr<ModelsData> data_;
  Listed tune_, certify_;
  Reference reference_;
  std::unique_ptr<Predictor> predictor_;
  SavedLogits all_;                ///< of tune, all exits
  double reference_accuracy_ = 0;  ///< on tune, where a drop of it is the aim
};

}  // namespace

Calibration calibrate(const CalibrateFlags& flags) { return Calibrator(flags, {}).run(); }

Calibration calibrate(const CalibrateFlags& flags, ModelFile made) {
  OFFRAMP_ASSERT(!flags.out.empty());
  return Calibrator(flags, std::move(made)).run();
}

}  // namespace offramp::cli
