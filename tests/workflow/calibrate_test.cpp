#include "workflow/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "engine/opened_model.h"
#include "graph/graph_builder.h"
#include "model/certified_hash.h"
#include "runtime/kernels_name.h"
#include "runtime/precision.h"
#include "tests/workflow/scenes.h"
#include "workflow/model_evaluation.h"
#include "workflow/provenance.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using test::kSceneCertify;
using test::kSceneTune;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

/// A model whose answers are known for every image, and its data.
class Calibrate : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    train = test::training_scenes();
    trap = test::deceptive_scenes();
    shared = std::make_unique<core::TemporaryFolder>();
    data::write_packed(data(), train, test::test_scenes());
    data::write_packed(trap_data(), trap, test::test_scenes());
  }
  static void TearDownTestSuite() { shared.reset(); }
  static std::string data() { return shared->path() / "scenes.pack"; }
  static std::string trap_data() { return shared->path() / "trap.pack"; }

  Calibrate() {
    split(train);
    save();
  }

  void split(const data::LoadedData& images) {
    model.provenance.data = test::parts_of(images.dataset);
  }
  void save() { model::save_model(path, model); }

  CalibrateOptions options(const policy::Aim& aim) const {
    CalibrateOptions result;
    result.model = path;
    result.data = data();
    result.aim = aim;
    result.run = {"auto", 1};
    return result;
  }

  /// Evaluates the policy on one part of the model's own images, in a run that really stops.
  Evaluation evaluated(ImagePart part, const fs::path& file = {},
                       const std::string& precision = "auto") const {
    EvaluateOptions how;
    how.model = file.empty() ? path : file;
    how.data = data();
    how.part = part;
    how.run = {precision, 1};
    return evaluate(how);
  }

  /// Expects an error, and that the model file is unchanged after it.
  template <typename Failure = Error>
  void expect_refused(const CalibrateOptions& how, const std::string& message) {
    const std::string before = core::read_text(path);
    EXPECT_THAT([&] { calibrate(how); }, ThrowsMessage<Failure>(message));
    EXPECT_EQ(core::read_text(path), before);
  }

  static inline data::LoadedData train, trap;
  static inline std::unique_ptr<core::TemporaryFolder> shared;
  core::TemporaryFolder folder;
  model::ModelFile model = test::three_exit_model();
  fs::path path = folder.path() / "model.safetensors";
  fs::path out = folder.path() / "out.safetensors";
};

TEST_F(Calibrate, RefusesInvalidFields) {
  expect_refused<UsageError>(options(policy::MaxCost{0}),
                             "max_relative_cost: expected a relative cost above 0, got 0");
  CalibrateOptions how = options(policy::MaxCost{1});
  how.reference = path;
  expect_refused<UsageError>(how, "reference: can only be used with the aim AccuracyDrop");
  how = options(policy::MaxCost{1});
  how.worst_class = true;
  expect_refused<UsageError>(how, "worst_class: can only be used with the aim HarmGuarantee");
  how = options(policy::MaxCost{1});
  how.out = data();
  expect_refused<UsageError>(
      how, "out: " + data() + " is an input, so it cannot be the output; choose another file");
}

TEST_F(Calibrate, RefusesFilesItCannotUseBeforeItRuns) {
  const fs::path nowhere = folder.path() / "nowhere" / "out.safetensors";
  CalibrateOptions how = options(policy::MaxCost{1});
  how.out = nowhere;
  expect_refused(how, nowhere.string() + ": cannot write: No such file or directory");
  how = options(policy::AccuracyDrop{0});
  how.reference = nowhere;
  expect_refused(how, nowhere.string() + ": cannot open: No such file or directory");
  model = test::perfect_model();
  split(train);
  save();
  expect_refused(options(policy::MaxCost{1}),
                 path.string() + ": has no early exit, so there is nothing to choose");
}

TEST_F(Calibrate, RefusesImagesThatTheModelWasTrainedOn) {
  const std::uint64_t tune = model.provenance.data.tune[3];
  model.provenance.data.train = {tune};
  save();
  EXPECT_THAT([&] { calibrate(options(policy::MaxCost{1})); },
              testing::ThrowsMessage<Error>(testing::StartsWith(
                  path.string() + ": the model was trained on 1 of these 400 images")));

  split(train);
  model.provenance.data.certify = model.provenance.data.tune;
  save();
  expect_refused(
      options(policy::HarmGuarantee{0.05}),
      path.string() +
          ": 400 images are in both its tune and its certify part, so a policy chosen on "
          "them cannot be certified on them");
  model.provenance.data = {};
  save();
  expect_refused(options(policy::MaxCost{1}),
                 path.string() + ": the model does not list the images of its tune part");
}

TEST_F(Calibrate, RefusesACertificateIfDeltaIsUsedUp) {
  model.certificates = 300;
  save();
  expect_refused(
      options(policy::HarmGuarantee{0.05}),
      path.string() +
          ": 300 attempts to certify with its certify images have used up delta 0.05; no "
          "further attempt is possible");
}

TEST_F(Calibrate, ChoosesOnTuneWhatAnEvaluationThenFollows) {
  const Calibration result = calibrate(options(policy::AccuracyDrop{0.02}));
  EXPECT_TRUE(result.met);
  const TuneResult& tune = result.tune;
  EXPECT_EQ(tune.images, kSceneTune);
  EXPECT_GE(tune.metrics.accuracy, tune.last_accuracy - 0.02);
  EXPECT_GE(tune.held_out_accuracy.value(), tune.last_accuracy - 0.02);
  EXPECT_LT(tune.metrics.relative_cost, 0.9);  // some images stop early

  const Evaluation test = evaluated(ImagePart::tune);
  ASSERT_TRUE(test.policy);
  EXPECT_TRUE(test.policy->is_models_own);
  EXPECT_EQ(test.policy->chosen, result.chosen);
  EXPECT_EQ(test.policy->replay_differs, 0);
  const eval::PolicyMetrics &executed = test.policy->metrics, &replayed = tune.metrics;
  EXPECT_EQ(executed.accuracy, replayed.accuracy);
  EXPECT_EQ(executed.accuracy_interval.low, replayed.accuracy_interval.low);
  EXPECT_EQ(executed.relative_cost, replayed.relative_cost);
  EXPECT_EQ(executed.shares, replayed.shares);
  EXPECT_EQ(executed.harm, replayed.harm);
  EXPECT_EQ(executed.help, replayed.help);
  EXPECT_FALSE(test.policy->chosen.guarantee);
  EXPECT_EQ(test.metrics.exits[2].accuracy, tune.last_accuracy);
  EXPECT_EQ(test.cost.relative_costs()[1], result.costs.relative[1]);
  EXPECT_EQ(test.controls.size(), 5u);

  const std::optional<policy::TuneExitShares> seen = model::load_model(path).policy->seen;
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->images, kSceneTune);
  EXPECT_EQ(seen->shares, replayed.shares);
}

TEST_F(Calibrate, ChangesNothingButThePolicy) {
  const core::Tensors state = {
      {"optimiser.step", core::HostTensor::of({1}, std::vector<std::int64_t>{7})}};
  model.provenance.details_json = R"({"seed":3})";
  model.certificates = 2;
  model::save_model(path, model, state);
  calibrate(options(policy::MaxCost{0.7}));
  CalibrateOptions elsewhere = options(policy::FixedThreshold{0.8});
  elsewhere.out = out;
  calibrate(elsewhere);
  for (const fs::path& file : {path, out}) {
    core::Tensors extra;
    const model::ModelFile after = model::load_model(file, &extra);
    EXPECT_EQ(after.graph, model.graph);
    EXPECT_EQ(after.weights, model.weights);
    EXPECT_EQ(extra, state);
    EXPECT_EQ(after.preprocessing, model.preprocessing);
    EXPECT_EQ(after.loss_weights, model.loss_weights);
    EXPECT_EQ(after.provenance.data.tune, model.provenance.data.tune);
    EXPECT_EQ(after.provenance.details_json, model.provenance.details_json);
    EXPECT_EQ(after.certificates, 2);
  }
  EXPECT_EQ(model::load_model(path).policy->aim, policy::Aim(policy::MaxCost{0.7}));
  EXPECT_EQ(model::load_model(out).policy->aim, policy::Aim(policy::FixedThreshold{0.8}));
}

TEST_F(Calibrate, TakesEveryCriterionAndEnsemble) {
  struct Case {
    policy::PolicyOptions shape;
    float threshold;
  };
  for (const auto& [shape, threshold] :
       {Case{{policy::Criterion::confidence, policy::Ensemble::geometric}, 0.8f},
        Case{{policy::Criterion::entropy, policy::Ensemble::mean}, 0.5f},
        Case{{policy::Criterion::margin, policy::Ensemble::weighted}, 0.8f},
        Case{{policy::Criterion::patience, policy::Ensemble::off}, 2.0f}}) {
    SCOPED_TRACE(to_string(shape.criterion));
    CalibrateOptions how = options(policy::FixedThreshold{static_cast<double>(threshold)});
    how.shape = shape;
    const Calibration result = calibrate(how);
    const policy::Policy policy = model::load_model(path).policy->policy;
    EXPECT_EQ(policy, result.chosen.policy);
    EXPECT_EQ(policy.criterion, shape.criterion);
    EXPECT_EQ(policy.ensemble, shape.ensemble);
    EXPECT_THAT(policy.thresholds, Each(std::optional(threshold)));
    EXPECT_EQ(policy.ensemble_weights.size(),
              shape.ensemble == policy::Ensemble::weighted ? 3u : 0u);
    for (const float temperature : policy.temperatures) EXPECT_NE(temperature, 1);
    if (shape.criterion != policy::Criterion::margin) continue;  // an executed run is slow
    const Evaluation test = evaluated(ImagePart::tune);
    EXPECT_EQ(test.policy->metrics.accuracy, result.tune.metrics.accuracy);
    EXPECT_EQ(test.policy->metrics.shares, result.tune.metrics.shares);
  }
}

TEST_F(Calibrate, StaysWithinABudgetOrSaysThatItCannot) {
  const Calibration result = calibrate(options(policy::MaxCost{0.6}));
  EXPECT_TRUE(result.met);
  EXPECT_LE(result.tune.metrics.relative_cost, 0.6);
  EXPECT_TRUE(result.tune.held_out_accuracy);
  EXPECT_FALSE(result.replaced);
  // The policy is more accurate than exit 1 alone, which costs 0.342.
  EXPECT_GT(result.tune.metrics.accuracy, evaluated(ImagePart::tune).metrics.exits[0].accuracy);
  // The lowest possible cost is that of exit 1: 150 of 438 multiply-accumulates.
  CalibrateOptions how = options(policy::MaxCost{0.3});
  how.shape.ensemble = policy::Ensemble::weighted;
  const Calibration unmet = calibrate(how);
  EXPECT_FALSE(unmet.met);
  EXPECT_NEAR(unmet.costs.relative.front(), 150.0 / 438, 1e-12);
  EXPECT_EQ(unmet.replaced, "--max-cost 0.6");
  EXPECT_THAT(model::load_model(path).policy->policy.thresholds, Each(std::optional<float>()));
  // The policy uses the last exit alone, because an ensemble of all exits may be worse.
  EXPECT_EQ(model::load_model(path).policy->policy.ensemble, policy::Ensemble::off);
}

TEST_F(Calibrate, MeasuresTheDropFromAnotherModelIfAsked) {
  model::ModelFile reference = test::perfect_model();
  const fs::path other = folder.path() / "all_seeing.safetensors";
  reference.provenance.data = {"scenes", {}, {}, {}};
  model::save_model(other, reference);
  CalibrateOptions how = options(policy::AccuracyDrop{0});
  how.reference = other;
  const Calibration unmet = calibrate(how);
  EXPECT_FALSE(unmet.met);
  EXPECT_EQ(unmet.chosen.aim, policy::Aim(policy::AccuracyDrop{0, "all_seeing.safetensors"}));
  EXPECT_LT(unmet.tune.metrics.accuracy, 1);
  const double missed = 1 - unmet.tune.metrics.accuracy;
  how.aim = policy::AccuracyDrop{missed + 0.01};
  const Calibration met = calibrate(how);
  EXPECT_TRUE(met.met);
  EXPECT_GE(met.tune.metrics.accuracy, 1 - (missed + 0.01) - 1e-6);

  reference.provenance.data.train = model.provenance.data.tune;
  model::save_model(other, reference);
  EXPECT_THAT([&] { calibrate(how); },
              testing::ThrowsMessage<TrainedOnImages>(testing::StartsWith(
                  other.string() + ": the model was trained on 400 of these 400 images")));
}

TEST_F(Calibrate, KeepsTheNameOfAReferenceAsJsonCanHoldIt) {
  model::ModelFile reference = test::perfect_model();
  reference.provenance.data = {"scenes", {}, {}, {}};
  const fs::path other = folder.path() / "a\xff";
  model::save_model(other, reference);
  CalibrateOptions how = options(policy::AccuracyDrop{0.5});
  how.reference = other;
  EXPECT_EQ(calibrate(how).chosen.aim, policy::Aim(policy::AccuracyDrop{0.5, "?"}));
}

TEST_F(Calibrate, CertifiesOnceAndTestsEveryFurtherAttemptMoreStrictly) {
  CalibrateOptions how = options(policy::HarmGuarantee{0.05, 0.1});
  how.worst_class = true;
  const Calibration first = calibrate(how);
  ASSERT_TRUE(first.certification);
  const policy::CertificationResult& given = first.certification->result;
  EXPECT_TRUE(first.met);
  EXPECT_TRUE(first.certification->was_attempted);
  EXPECT_TRUE(given.holds());
  EXPECT_EQ(given.attempt, 1);
  EXPECT_DOUBLE_EQ(given.level, 0.98 * 0.09);
  EXPECT_EQ(given.images, kSceneCertify);
  EXPECT_EQ(first.certification->missing, 0);
  EXPECT_LE(given.upper_bound, 0.05);
  EXPECT_GT(given.counted, 0);
  ASSERT_TRUE(first.certification->worst);
  EXPECT_GT(first.certification->worst->upper_bound, given.upper_bound);
  model::ModelFile after = model::load_model(path);
  EXPECT_EQ(after.certificates, 1);
  const policy::Guarantee kept = *after.policy->guarantee;
  EXPECT_EQ(kept, (policy::Guarantee{"harm", 0.05, 0.1, given.level, kSceneCertify, given.counted,
                                     given.upper_bound, "f32", runtime::kernels_name(),
                                     policy::HarmReference::last_exit, model::certified_hash(after),
                                     given.disagreement}));
  ASSERT_TRUE(kept.disagreement);
  EXPECT_GE(kept.disagreement->counted, kept.counted);  // what is harmed is classified differently
  // The file also holds the more cautious certified steps, for a server to choose from.
  ASSERT_TRUE(after.policy->path.has_value());
  const policy::CertifiedPath& steps = *after.policy->path;
  ASSERT_GT(steps.chosen, 0u);
  EXPECT_EQ(steps.steps[steps.chosen].counted, given.counted);
  EXPECT_EQ(steps.steps[steps.chosen].thresholds, after.policy->policy.thresholds);
  EXPECT_NEAR(steps.steps[steps.chosen].accuracy, first.tune.metrics.accuracy, 1e-12);
  EXPECT_NEAR(steps.steps[steps.chosen].relative_cost, first.tune.metrics.relative_cost, 1e-12);
  // An executed run must find the same number of harmed images.
  // A copy is evaluated, because looking at the certify images counts as an attempt.
  const fs::path copy = folder.path() / "copy.safetensors";
  fs::copy_file(path, copy);
  const Evaluation certify = evaluated(ImagePart::certify, copy);
  EXPECT_NEAR(certify.policy->metrics.harm, static_cast<double>(given.counted) / kSceneCertify,
              1e-12);
  EXPECT_TRUE(certify.policy->chosen.guarantee);
  if (runtime::usable_precision(runtime::Precision::bf16) == runtime::Precision::bf16) {
    const Evaluation bf16 = evaluated(ImagePart::tune, {}, "bf16");
    EXPECT_EQ(bf16.policy->certificate.in_force, InForce::no);
  }

  // The attempt is also counted here when the result goes to another file, because the images were
  // used again.
  how.worst_class = false;
  how.out = out;
  const Calibration second = calibrate(how);
  EXPECT_EQ(second.certification->result.attempt, 2);
  EXPECT_DOUBLE_EQ(second.certification->result.level, 0.98 * 0.009);
  EXPECT_LT(second.certification->result.counted, given.counted);
  after = model::load_model(path);
  EXPECT_EQ(after.certificates, 2);
  EXPECT_EQ(after.policy->guarantee, kept);
  EXPECT_EQ(model::load_model(out).certificates, 2);

  how = options(policy::HarmGuarantee{0.05, 0.1, true});
  // Without labels there is no second bound that shares the level.
  EXPECT_DOUBLE_EQ(calibrate(how).certification->result.level, 0.0009);
  EXPECT_EQ(model::load_model(path).policy->guarantee->of, "disagreement");
  EXPECT_EQ(model::load_model(path).policy->aim, how.aim);
  EXPECT_EQ(model::load_model(path).certificates, 3);
}

TEST_F(Calibrate, BindsACertificateToTheWeightsAndThePolicy) {
  calibrate(options(policy::HarmGuarantee{0.05, 0.1}));
  const auto status = [&] {
    return engine::OpenedModel::open(path, {.threads = 1})->certificate().status();
  };
  EXPECT_EQ(status().in_force, InForce::yes);
  const model::ModelFile certified = model::load_model(path);
  model::ModelFile changed = certified;
  core::HostTensor& tensor = changed.weights.begin()->second;
  std::vector<float> values = tensor.to_f32();
  values.back() = std::nextafter(values.back(), 2.0f);
  tensor = core::HostTensor::of(tensor.shape, std::span<const float>(values));
  model::save_model(path, changed);
  EXPECT_EQ(status().in_force, InForce::no);
  EXPECT_THAT(status().why, HasSubstr("are not those that were certified"));
  changed = certified;
  changed.policy->path.reset();
  changed.policy->policy.thresholds[0] = *changed.policy->policy.thresholds[0] - 0.001f;
  model::save_model(path, changed);
  EXPECT_EQ(status().in_force, InForce::no);
  model::save_model(path, certified);
  EXPECT_EQ(status().in_force, InForce::yes);
}

/// Counts the images that a policy harms, from saved logits: those that `answers` classifies
/// wrongly and the last exit's own logits classify correctly.
std::int64_t harmed_against_last_exit(const eval::SavedLogits& logits,
                                      const std::vector<std::int64_t>& answers) {
  const policy::LogitsView view = logits.view();
  std::int64_t harmed = 0;
  for (std::int64_t i = 0; i < view.images(); ++i) {
    const std::int64_t label = view.labels[static_cast<std::size_t>(i)];
    harmed += policy::argmax(view.at(view.exits - 1, i)) == label &&
              answers[static_cast<std::size_t>(i)] != label;
  }
  return harmed;
}

TEST_F(Calibrate, CountsTheHarmOfAnEnsembleAgainstTheLastExitAlone) {
  CalibrateOptions how = options(policy::HarmGuarantee{0.1, 0.1});
  how.shape.ensemble = policy::Ensemble::mean;
  const Calibration result = calibrate(how);
  ASSERT_TRUE(result.certification->result.holds());
  const Evaluation certify = evaluated(ImagePart::certify);
  const std::int64_t harmed = harmed_against_last_exit(certify.logits, certify.policy->answers);
  EXPECT_EQ(result.certification->result.counted, harmed);
  EXPECT_NEAR(certify.policy->metrics.harm, static_cast<double>(harmed) / kSceneCertify, 1e-12);
  // The printed numbers add up.
  const TuneResult& tune = result.tune;
  EXPECT_NEAR(tune.metrics.accuracy, tune.last_accuracy + tune.metrics.help - tune.metrics.harm,
              1e-12);
}

TEST_F(Calibrate, CountsCopiesOfAnImageOnce) {
  data::LoadedData images = train;
  const std::size_t first = test::kSceneTrain + kSceneTune;
  for (int copy = 0; copy < 4; ++copy)
    for (std::size_t i = first; i < first + kSceneCertify; ++i) {
      const auto pixels = train.dataset.image(static_cast<std::int64_t>(i));
      images.dataset.pixels.insert(images.dataset.pixels.end(), pixels.begin(), pixels.end());
      images.dataset.labels.push_back(train.dataset.labels[i]);
      images.dataset.names.push_back(train.dataset.names[i] + " again");
      images.dataset.hashes.push_back(train.dataset.hashes[i]);
    }
  const fs::path copies = folder.path() / "copies.pack";
  data::write_packed(copies, images, test::test_scenes());
  CalibrateOptions how = options(policy::HarmGuarantee{0.05, 0.1});
  how.out = out;
  const Calibration once = calibrate(how);
  model.certificates = 0;
  save();
  how.data = copies;
  const Calibration with_copies = calibrate(how);
  EXPECT_EQ(with_copies.certification->result.images, kSceneCertify);
  EXPECT_EQ(with_copies.certification->result.counted, once.certification->result.counted);
}

TEST_F(Calibrate, GivesCertificatesDrawnAtTheSameTimeDifferentNumbers) {
  constexpr int kRuns = 4;
  std::vector<int> attempts(kRuns);
  std::vector<std::thread> threads;
  for (int run = 0; run < kRuns; ++run)
    threads.emplace_back([&, run] {
      CalibrateOptions how = options(policy::HarmGuarantee{0.3, 0.5});
      how.out = folder.path() / ("out" + std::to_string(run) + ".safetensors");
      attempts[static_cast<std::size_t>(run)] = calibrate(how).certification->result.attempt;
    });
  for (std::thread& thread : threads) thread.join();
  std::ranges::sort(attempts);
  EXPECT_EQ(attempts, (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(model::load_model(path).certificates, kRuns);
}

TEST_F(Calibrate, KeepsWeightsThatATrainingWroteMeanwhile) {
  // The file is replaced while the tune images are evaluated, as by a better epoch.
  model::ModelFile trained = model;
  trained.weights["fc.bias"] = core::HostTensor::of({2}, std::vector<float>{0.25f, 0});
  Progress progress;
  progress.report = [&](std::int64_t, std::int64_t, std::string_view) {
    model::save_model(path, trained);
  };
  EXPECT_THAT([&] { calibrate(options(policy::MaxCost{0.6}), progress); },
              ThrowsMessage<Error>(path.string() +
                                   ": the file was changed during the calibration; run it again"));
  EXPECT_EQ(model::load_model(path).weights, trained.weights);
}

TEST_F(Calibrate, KeepsTheCountOfTheFileItReplaces) {
  model.certificates = 3;
  model::save_model(out, model);
  model.certificates = 0;
  save();
  CalibrateOptions how = options(policy::MaxCost{0.6});
  how.out = out;
  calibrate(how);
  EXPECT_EQ(model::load_model(out).certificates, 3);
}

TEST_F(Calibrate, CountsEveryUseOfTheCertifyImages) {
  evaluated(ImagePart::tune);
  EXPECT_EQ(model::load_model(path).certificates, 0);
  evaluated(ImagePart::certify);
  EXPECT_EQ(model::load_model(path).certificates, 1);
  const std::string log = core::read_text(folder.path() / "test_reads.jsonl");
  EXPECT_THAT(log, HasSubstr(R"("part":"certify")"));
  EXPECT_EQ(calibrate(options(policy::HarmGuarantee{0.05, 0.1})).certification->result.attempt, 2);
}

TEST_F(Calibrate, CountsAUseOfCertifyImagesInATestPart) {
  // The test part of this data set consists of the model's certify images.
  data::LoadedData certify = test::empty_scenes();
  const std::size_t first = test::kSceneTrain + kSceneTune;
  const auto side = static_cast<std::size_t>(test::kSceneSide);
  const data::Dataset& all = train.dataset;
  certify.dataset.pixels.assign(
      all.pixels.begin() + static_cast<std::ptrdiff_t>(first * side * side * 3), all.pixels.end());
  certify.dataset.labels.assign(all.labels.begin() + static_cast<std::ptrdiff_t>(first),
                                all.labels.end());
  certify.dataset.names.assign(all.names.begin() + static_cast<std::ptrdiff_t>(first),
                               all.names.end());
  certify.dataset.hashes.assign(all.hashes.begin() + static_cast<std::ptrdiff_t>(first),
                                all.hashes.end());
  const fs::path disguised = folder.path() / "disguised.pack";
  data::write_packed(disguised, train, certify);
  EvaluateOptions how;
  how.model = path;
  how.data = disguised;
  how.run = {"auto", 1};
  evaluate(how);
  EXPECT_EQ(model::load_model(path).certificates, 1);
}

TEST_F(Calibrate, RefusesADropOfLessThanOneTuneImage) {
  expect_refused<UsageError>(
      options(policy::AccuracyDrop{0.002}),
      "max_drop: 0.002 is less than one of the 400 tune images; ask for at least 0.0025 or train "
      "with more images");
  EXPECT_TRUE(calibrate(options(policy::AccuracyDrop{0.0025})).tune.images == kSceneTune);
}

TEST_F(Calibrate, WarnsOfUselessExits) {
  EXPECT_THAT(calibrate(options(policy::MaxCost{0.6})).warnings, IsEmpty());
  // The last exit gives every image the same logits.
  model.weights["fc.weight"] = core::HostTensor::of({2, 3}, std::vector<float>(6));
  save();
  const Calibration result = calibrate(options(policy::MaxCost{0.6}));
  EXPECT_THAT(result.warnings,
              testing::ElementsAre(
                  testing::StartsWith("the last exit is less accurate on tune than exit 2: "),
                  testing::StartsWith("exit 3 is useless on tune: its accuracy of ")));
}

TEST_F(Calibrate, WarnsOfFewTuneImages) {
  // Six images that every exit classifies correctly: any temperature but the lowest is too high.
  auto& tune = model.provenance.data.tune;
  tune.clear();
  for (std::size_t i = test::kSceneTrain; tune.size() < 6; ++i) {
    const test::Scene shown = test::scene(i);
    const float sign = shown.label == 1 ? 1.0f : -1.0f;
    if (std::ranges::all_of(shown.means, [&](float mean) { return sign * mean > 0.3f; }))
      tune.push_back(train.dataset.hashes[i]);
  }
  std::ranges::sort(tune);
  save();
  expect_refused<UsageError>(options(policy::AccuracyDrop{0.005}),
                             "max_drop: 0.005 is less than one of the 6 tune images; ask for at "
                             "least 0.167 or train with more images");
  const Calibration result = calibrate(options(policy::AccuracyDrop{0.167}));
  EXPECT_NEAR(result.tune.standard_error, std::sqrt(2.0 / 8 / 8), 1e-12);  // no image differs
  EXPECT_THAT(result.warnings,
              testing::Contains("the temperature of exit 1 is 0.01, the end of the range that is "
                                "searched: its probabilities do not describe how often it is "
                                "correct"));
  EXPECT_THAT(result.warnings,
              testing::Contains("a drop of 16.70 points is below the standard error of 17.68 "
                                "points that 6 tune images give: chance may decide whether the "
                                "aim is met"));
}

TEST_F(Calibrate, CountsNoCertificateIfThereAreTooFewImages) {
  const Calibration few = calibrate(options(policy::HarmGuarantee{0.001, 0.05}));
  EXPECT_FALSE(few.met);
  EXPECT_FALSE(few.certification->was_attempted);
  EXPECT_FALSE(few.certification->result.holds());
  EXPECT_EQ(few.certification->result.images_needed, 3120);  // ln(0.98 * 0.045) / ln 0.999
  EXPECT_THAT(few.chosen.policy.thresholds, Each(std::optional<float>()));
  EXPECT_EQ(model::load_model(path).certificates, 0);
  EXPECT_FALSE(model::load_model(path).policy->guarantee);
}

TEST_F(Calibrate, CertifiesNothingWhereEarlyExitsDoHarm) {
  split(trap);
  save();
  CalibrateOptions how = options(policy::HarmGuarantee{0.05});
  how.data = trap_data();
  const Calibration trapped = calibrate(how);
  EXPECT_TRUE(trapped.certification->was_attempted);
  EXPECT_FALSE(trapped.certification->result.holds());
  EXPECT_EQ(trapped.certification->result.attempt, 1);
  EXPECT_THAT(trapped.chosen.policy.thresholds, Each(std::optional<float>()));
  EXPECT_FALSE(model::load_model(path).policy->guarantee);
  EXPECT_EQ(model::load_model(path).certificates, 1);
}

TEST_F(Calibrate, CountsACertificateBeforeItEvaluatesAnImage) {
  // Only one white image of the certify part makes the logits of exit 3 infinite, so the run fails
  // while it evaluates the certify images.
  data::LoadedData images = train;
  test::Scene white;
  white.means = {1.5f, 1.5f, 1.5f};
  test::add(images.dataset, white);
  const fs::path with_white = folder.path() / "white.pack";
  data::write_packed(with_white, images, test::test_scenes());
  auto& certify = model.provenance.data.certify;
  certify.push_back(images.dataset.hashes.back());
  std::ranges::sort(certify);
  graph::Segment& last = model.graph.segments[2];
  std::get<graph::Conv>(last.nodes[0].op) = {.out_channels = 4, .bias = true};
  last.head.clear();
  append(last.head, "relu", graph::Relu{}, {"conv3"});
  append(last.head, "pool", graph::GlobalAvgPool{}, {"relu"});
  append(last.head, "fc", graph::Linear{.out_features = 2}, {"pool"});
  const float huge = 1e37f;
  model.weights["conv3.weight"] = core::HostTensor::of(
      {4, 3, 1, 1}, std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1, huge, huge, huge});
  model.weights["conv3.bias"] =
      core::HostTensor::of({4}, std::vector<float>{1, 1, 1, -2.9f * huge});
  model.weights["fc.weight"] =
      core::HostTensor::of({2, 4}, std::vector<float>{0, 0, -5, 0, 0, 0, 5, 1000});
  model.weights["fc.bias"] = core::HostTensor::of({2}, std::vector<float>{5, -5});
  save();
  CalibrateOptions how = options(policy::HarmGuarantee{0.05});
  how.data = with_white;
  how.out = out;
  EXPECT_THAT([&] { calibrate(how); },
              ThrowsMessage<Error>(path.string() +
                                   ": exit 3 gives a logit of inf for \"scene 1251\"; the model "
                                   "cannot be used"));
  EXPECT_EQ(model::load_model(path).certificates, 1);
  EXPECT_FALSE(model::load_model(path).policy);
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(Calibrate, CountsImagesThatAreMissing) {
  // These hashes belong to no image and are smaller than all others, so the lists stay sorted.
  auto& parts = model.provenance.data;
  parts.tune.insert(parts.tune.begin(), {1, 2});
  parts.certify.insert(parts.certify.begin(), {3, 4, 5});
  save();
  const Calibration result = calibrate(options(policy::HarmGuarantee{0.05}));
  EXPECT_EQ(result.tune.missing, 2);
  EXPECT_EQ(result.certification->missing, 3);
}

TEST_F(Calibrate, DropsExitsThatCostMoreThanTheySave) {
  // Exit 1 is wrong for almost every image.
  model.weights["exits.1.fc.weight"] =
      core::HostTensor::of({2, 3}, std::vector<float>{1, 0, 0, -1, 0, 0});
  const core::Tensors state = {
      {"optimiser.step", core::HostTensor::of({1}, std::vector<std::int64_t>{7})}};
  model::save_model(path, model, state);
  CalibrateOptions how = options(policy::AccuracyDrop{0.01});
  how.drop_useless_exits = true;
  how.out = out;
  const Calibration result = calibrate(how);
  EXPECT_EQ(result.dropped, std::vector<int>{0});
  EXPECT_TRUE(result.training_state_dropped);
  EXPECT_TRUE(result.tune.held_out_accuracy);
  core::Tensors extra;
  const model::ModelFile left = model::load_model(out, &extra);
  EXPECT_THAT(extra, IsEmpty());
  ASSERT_EQ(left.policy->policy.thresholds.size(), 1u);
  EXPECT_TRUE(left.policy->policy.thresholds[0]);
  EXPECT_EQ(left.weights.at("exits.1.fc.weight"), model.weights.at("exits.2.fc.weight"));
  EXPECT_THAT(left.provenance.details_json, HasSubstr(R"("dropped_exits":[{"exits":[1],"of":3}])"));
  const Evaluation test = evaluated(ImagePart::tune, out);
  EXPECT_EQ(test.policy->replay_differs, 0);
  EXPECT_EQ(test.metrics.exits.size(), 2u);

  // The certificate is for the deployed model, which lacks the removed head.
  how.aim = policy::HarmGuarantee{0.05};
  const Calibration sure = calibrate(how);
  EXPECT_EQ(sure.dropped, std::vector<int>{0});
  EXPECT_TRUE(sure.certification->result.holds());
  EXPECT_EQ(model::load_model(out).certificates, 1);
  EXPECT_NEAR(evaluated(ImagePart::certify, out).policy->metrics.harm,
              static_cast<double>(sure.certification->result.counted) / kSceneCertify, 1e-12);
}

TEST_F(Calibrate, DropsNoExitThatSaves) {
  CalibrateOptions how = options(policy::MaxCost{0.6});
  how.drop_useless_exits = true;
  EXPECT_THAT(calibrate(how).dropped, IsEmpty());
  EXPECT_EQ(model::load_model(path).graph, model.graph);
}

TEST_F(Calibrate, MeasuresMillisecondsAsCosts) {
  CalibrateOptions how = options(policy::FixedThreshold{0.9, policy::CostUnit::ms});
  how.run.batch = 64;
  const ExitCosts costs = calibrate(how).costs;
  ASSERT_EQ(costs.ms.size(), 3u);
  EXPECT_GT(costs.ms[0], 0);
  EXPECT_LE(costs.ms[0], costs.ms[1]);
  EXPECT_LE(costs.ms[1], costs.ms[2]);
  EXPECT_EQ(costs.relative[2], 1);
  EXPECT_NEAR(costs.relative[0], costs.ms[0] / costs.ms[2], 1e-12);
  EXPECT_EQ(model::load_model(path).policy->aim, how.aim);
}

TEST_F(Calibrate, ReportsItsProgressAndStopsWhenToldTo) {
  std::int64_t furthest = 0, total = 0;
  Progress progress;
  progress.report = [&](std::int64_t done, std::int64_t all, std::string_view unit) {
    EXPECT_EQ(unit, "images");
    furthest = std::max(furthest, done);
    total = all;
  };
  CalibrateOptions how = options(policy::MaxCost{0.6});
  how.run.batch = 100;
  calibrate(how, progress);
  EXPECT_EQ(furthest, kSceneTune);
  EXPECT_EQ(total, kSceneTune);

  const std::string before = core::read_text(path);
  progress.cancelled = [] { return true; };
  furthest = 0;
  EXPECT_THROW(calibrate(how, progress), Cancelled);
  EXPECT_EQ(furthest, 100) << "it is asked after every batch";
  EXPECT_EQ(core::read_text(path), before);
}

}  // namespace
}  // namespace offramp::workflow
