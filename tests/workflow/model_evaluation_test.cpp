#include "workflow/model_evaluation.h"
#include "tests/support/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "eval/logits_file.h"
#include "runtime/kernels_name.h"
#include "runtime/precision.h"
#include "workflow/provenance.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

/// A network with random weights for the synthetic images.
class ModelEvaluation : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    data::LoadOptions options;
    options.synthetic_train = 200;
    options.synthetic_test = 400;
    test_part = data::load_data("synthetic", data::Part::test, options);
    train_part = data::load_data("synthetic", data::Part::train, options);
    shared = std::make_unique<core::TemporaryFolder>();
    data::write_packed(data(), train_part, test_part);
  }
  static void TearDownTestSuite() { shared.reset(); }
  static std::string data() { return shared->path() / "images.pack"; }

  ModelEvaluation() {
    model = test::small_model(test_part.dataset.classes);
    save();
  }

  void save() { model::save_model(path, model); }

  EvaluateOptions options(std::optional<double> threshold = {}) const {
    EvaluateOptions result;
    result.model = path;
    result.data = data();
    result.policy.threshold = threshold;
    result.run.threads = 1;
    return result;
  }

  static std::vector<std::uint64_t> sorted(std::vector<std::uint64_t> hashes) {
    std::ranges::sort(hashes);
    return hashes;
  }
  void list_for_tune(int count) {
    const auto& hashes = train_part.dataset.hashes;
    model.provenance.data.tune = sorted({hashes.begin(), hashes.begin() + count});
  }
  std::int64_t reads() const {
    const fs::path log = folder.path() / "test_reads.jsonl";
    return fs::exists(log) ? std::ranges::count(core::read_text(log), '\n') : 0;
  }

  static inline data::LoadedData test_part, train_part;
  static inline std::unique_ptr<core::TemporaryFolder> shared;
  core::TemporaryFolder folder;
  model::ModelFile model;
  fs::path path = folder.path() / "model.safetensors";
};

TEST_F(ModelEvaluation, MeasuresEveryExitAndAPolicyThatReallyStops) {
  EvaluateOptions how = options(0.15);
  how.confusion = true;
  how.save_logits = folder.path() / "logits.safetensors";
  const Evaluation result = evaluate(how);
  const std::int64_t images = result.metrics.images;
  ASSERT_EQ(result.metrics.exits.size(), 3u);
  EXPECT_EQ(result.kernels, runtime::kernels_name());

  // The same results must follow from the saved logits.
  const eval::SavedLogits saved = eval::load_logits(how.save_logits);
  const policy::LogitsView view = saved.view();
  ASSERT_EQ(view.images(), images);
  const graph::Cost cost = graph::cost_of(model.graph);
  for (int k = 0; k < 3; ++k) {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < images; ++i) {
      const auto z = view.at(k, i);
      count += std::max_element(z.begin(), z.end()) - z.begin() ==
               view.labels[static_cast<std::size_t>(i)];
    }
    const eval::ExitMetrics& exit = result.metrics.exits[static_cast<std::size_t>(k)];
    EXPECT_DOUBLE_EQ(exit.accuracy, static_cast<double>(count) / static_cast<double>(images));
    EXPECT_LE(exit.accuracy_interval.low, exit.accuracy);
    EXPECT_GE(exit.accuracy_interval.high, exit.accuracy);
    EXPECT_EQ(result.cost.exit_macs, cost.exit_macs);
    const auto& confusion = result.confusion[static_cast<std::size_t>(k)];
    std::int64_t all = 0, diagonal = 0;
    for (std::size_t i = 0; i < confusion.size(); ++i) {
      all += confusion[i];
      if (i % 11 == 0) diagonal += confusion[i];
    }
    EXPECT_EQ(all, images);
    EXPECT_EQ(diagonal, count);
  }
  std::int64_t of_classes = 0;
  for (const eval::OverthinkingCounts& row : result.overthinking) of_classes += row.images;
  EXPECT_EQ(of_classes, images);

  const eval::PolicyMetrics& policy = result.policy->metrics;
  EXPECT_NEAR(std::accumulate(policy.shares.begin(), policy.shares.end(), 0.0), 1, 1e-12);
  double expected_cost = 0;
  for (std::size_t k = 0; k < 3; ++k)
    expected_cost += policy.shares[k] * cost.relative(static_cast<int>(k));
  EXPECT_NEAR(policy.relative_cost, expected_cost, 1e-12);
  EXPECT_NEAR(policy.accuracy, result.metrics.exits[2].accuracy - policy.harm + policy.help, 1e-12);
  EXPECT_EQ(reads(), 1);
}

TEST_F(ModelEvaluation, FollowsTheModelsOwnPolicyAndItsCertificate) {
  policy::ChosenPolicy chosen = test::certified_policy();
  chosen.policy.thresholds = {0.14f, std::nullopt};
  chosen.policy.temperatures = {1.1f, 1, 0.9f};
  chosen.policy.ensemble = policy::Ensemble::geometric;
  model.policy = chosen;
  save();
  const Evaluation here = evaluate(options());
  EXPECT_TRUE(here.policy->is_models_own);
  EXPECT_EQ(here.policy->chosen, chosen);
  EXPECT_EQ(here.policy->metrics.shares[1], 0);
  EXPECT_EQ(here.policy->replay_differs, 0);
  EXPECT_EQ(here.policy->guarantee, chosen.guarantee);
  EXPECT_EQ(here.policy->certificate.in_force, InForce::unknown) << "no shares to see drift with";

  model.policy->seen = policy::TuneExitShares{2000, here.policy->metrics.shares};
  save();
  EXPECT_EQ(evaluate(options()).policy->certificate, (engine::CertificateStatus{InForce::yes, ""}));
  model.policy->seen = policy::TuneExitShares{2000, {0, 0, 1}};
  save();
  const Evaluation drifted = evaluate(options());
  ASSERT_EQ(drifted.policy->drift->drift, policy::Drift::drifted);
  EXPECT_EQ(drifted.policy->guarantee, chosen.guarantee);
  EXPECT_EQ(drifted.policy->certificate.in_force, InForce::no);
  EXPECT_THAT(drifted.policy->certificate.why, HasSubstr("the images have changed"));
  const Evaluation flags = evaluate(options(0.15));
  EXPECT_EQ(flags.policy->guarantee, chosen.guarantee);
  EXPECT_EQ(flags.policy->certificate.in_force, InForce::no);

  if (runtime::usable_precision(runtime::Precision::bf16) == runtime::Precision::bf16) {
    EvaluateOptions other = options();
    other.run.precision = "bf16";
    const Evaluation bf16 = evaluate(other);
    EXPECT_EQ(bf16.policy->certificate.in_force, InForce::no);
    EXPECT_THAT(bf16.policy->certificate.why, HasSubstr("bf16, for which nothing was certified"));
  }
  EvaluateOptions none = options();
  none.policy.no_policy = true;
  EXPECT_FALSE(evaluate(none).policy);
}

TEST_F(ModelEvaluation, ComparesSharesOfExitsWithThoseOfTheTuneImages) {
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(3);
  chosen.policy.thresholds = {0.14f, 0.14f};
  model.policy = chosen;
  save();
  const Evaluation unknown = evaluate(options());
  EXPECT_FALSE(unknown.policy->drift);

  const std::vector<double> shares = unknown.policy->metrics.shares;
  model.policy->seen = policy::TuneExitShares{2000, shares};
  save();
  const policy::DriftVerdict none = evaluate(options()).policy->drift.value();
  EXPECT_EQ(none.drift, policy::Drift::none);
  EXPECT_EQ(none.distance, 0);

  model.policy->seen->shares = {shares[1], shares[2], shares[0]};
  save();
  const policy::DriftVerdict drifted = evaluate(options()).policy->drift.value();
  EXPECT_EQ(drifted.drift, policy::Drift::drifted);
  EXPECT_GE(drifted.distance, 0.05);
  EXPECT_LT(drifted.p_value, 1e-4);
}

TEST_F(ModelEvaluation, ComparesAPolicyWithItsControls) {
  const fs::path twin = folder.path() / "twin.safetensors";
  model::save_model(twin, model);
  EvaluateOptions how = options(0.15);
  how.compare = {twin};
  const Evaluation result = evaluate(how);
  const auto& rows = result.controls;
  ASSERT_EQ(rows.size(), 6u);
  const eval::PolicyMetrics& policy = result.policy->metrics;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const eval::Baseline& control = rows[i].control;
    SCOPED_TRACE(rows[i].name);
    EXPECT_NEAR(control.difference, policy.accuracy - control.accuracy, 1e-12);
    EXPECT_LE(control.difference_interval.low, control.difference);
    EXPECT_GE(control.difference_interval.high, control.difference);
    if (i < 3) {
      EXPECT_EQ(control.accuracy, result.metrics.exits[i].accuracy);
    }
  }
  EXPECT_DOUBLE_EQ(rows[2].control.relative_cost, 1);  // the last exit alone is the plain network
  EXPECT_EQ(rows[3].name, "random exits at the policy's rates");
  EXPECT_NEAR(rows[3].control.relative_cost, policy.relative_cost, 1e-12);
  const eval::OverthinkingCounts& counts = result.metrics.overthinking;
  EXPECT_DOUBLE_EQ(rows[4].control.accuracy, counts.rate(counts.oracle()));
  EXPECT_EQ(rows[5].name, twin.string() + ", its last exit alone");
  EXPECT_EQ(rows[5].control.accuracy, result.metrics.exits[2].accuracy);

  model.provenance.data.train = sorted({test_part.dataset.hashes[4]});
  model::save_model(twin, model);
  EXPECT_THAT(
      [&] { evaluate(how); },
      ThrowsMessage<TrainedOnImages>(StartsWith(twin.string() + ": the model was trained on")));
}

TEST_F(ModelEvaluation, SweepsThresholdsThatAreChosenOnTune) {
  list_for_tune(40);
  save();
  EvaluateOptions how = options();
  how.sweep = true;
  const Evaluation result = evaluate(how);
  const Sweep& sweep = result.sweep.value();
  EXPECT_EQ(sweep.tune_images, 40);
  EXPECT_EQ(sweep.images, result.metrics.images);
  ASSERT_EQ(sweep.curves.size(), 16u);  // four criteria, four ensembles
  for (const SweptCurve& curve : sweep.curves) {
    ASSERT_EQ(curve.read.points.size(), curve.tune.points.size());
    for (const eval::SweepPoint& point : curve.read.points)
      EXPECT_NEAR(std::accumulate(point.shares.begin(), point.shares.end(), 0.0), 1, 1e-12);
  }
  model.provenance.data.tune.clear();
  save();
  EXPECT_THAT([&] { evaluate(how); },
              ThrowsMessage<Error>(path.string() +
                                   ": the model does not list the images of its tune part"));
}

TEST_F(ModelEvaluation, RefusesImagesTheModelWasTrainedOn) {
  model.provenance.data.train =
      sorted({test_part.dataset.hashes[4], test_part.dataset.hashes[2], 7});
  save();
  EvaluateOptions how = options();
  EXPECT_THAT([&] { evaluate(how); },
              ThrowsMessage<TrainedOnImages>(
                  testing::AllOf(StartsWith(path.string() + ": the model was trained on 2 of"),
                                 HasSubstr(test_part.dataset.names[2]))));
  EXPECT_EQ(reads(), 0);

  how.skip_trained = true;
  std::vector<std::string> notes;
  Progress progress;
  progress.note = [&](std::string_view line) { notes.emplace_back(line); };
  const Evaluation rest = evaluate(how, progress);
  EXPECT_THAT(notes, testing::ElementsAre("left out 2 images that the model was trained on"));
  EXPECT_EQ(rest.metrics.images, test_part.dataset.size() - 2);
}

TEST_F(ModelEvaluation, RefusesDataOfOtherClasses) {
  model.classes[3] = "unicorn";
  save();
  EXPECT_THAT([&] { evaluate(options()); }, ThrowsMessage<Error>(testing::AllOf(
                                                StartsWith(path.string() + ": "),
                                                HasSubstr("class 4 is \"unicorn\" in the model"))));
}

TEST_F(ModelEvaluation, FindsTheModelsOwnTuneImages) {
  list_for_tune(30);
  save();
  EvaluateOptions how = options();
  how.part = ImagePart::tune;
  EXPECT_EQ(evaluate(how).metrics.images, 30);
  EXPECT_EQ(reads(), 0);
  how.part = ImagePart::certify;
  EXPECT_THAT([&] { evaluate(how); },
              ThrowsMessage<Error>(HasSubstr("does not list the images of its certify part")));
}

TEST_F(ModelEvaluation, DoesNotWriteLogitsOverItsInputs) {
  const std::string before = core::read_text(path);
  EvaluateOptions how = options();
  how.save_logits = path;
  EXPECT_THAT(
      [&] { evaluate(how); },
      ThrowsMessage<UsageError>("save_logits: " + path.string() +
                                " is an input, so it cannot be the output; choose another file"));
  EXPECT_EQ(core::read_text(path), before);
}

TEST_F(ModelEvaluation, EndsBetweenBatchesWhenItIsCancelled) {
  EvaluateOptions how = options();
  how.run.batch = 100;
  std::int64_t asked = 0;
  Progress progress;
  progress.cancelled = [&] { return ++asked == 3; };
  EXPECT_THROW(evaluate(how, progress), Cancelled);
  EXPECT_EQ(asked, 3);
}

}  // namespace
}  // namespace offramp::workflow
