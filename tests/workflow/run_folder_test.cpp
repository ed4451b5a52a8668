#include "workflow/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "core/error.h"
#include "tests/model/tiny_model.h"
#include "workflow/certificate_count.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

class Folder : public testing::Test {
 protected:
  const core::TemporaryFolder temporary;
  const RunFolder run{temporary.path() / "run"};
};

EpochReport epoch_report(int epoch) {
  EpochReport r;
  r.epoch = epoch;
  r.epochs = 3;
  r.loss = 0.1 * epoch;
  r.train_accuracy = {0.25, 0.5};
  r.tune_accuracy = {0.125, 0.375};
  r.tune_nll = {1.5, 1.25};
  r.learning_rate = 0.05;
  r.images_per_second = 1234.5;
  r.seconds = 10.5;
  r.loader_wait = 0.0625;
  r.best = epoch == 2;
  return r;
}

TEST_F(Folder, ReadsTheEpochsThatItWrote) {
  const core::FileLock held = run.start({});
  for (const int epoch : {1, 2}) run.log(epoch_report(epoch));
  const std::vector<EpochReport> read = run.epochs();
  ASSERT_EQ(read.size(), 2u);
  for (const int epoch : {1, 2}) {
    const EpochReport &got = read[static_cast<std::size_t>(epoch - 1)],
                      expected = epoch_report(epoch);
    EXPECT_EQ(got.epoch, expected.epoch);
    EXPECT_EQ(got.epochs, expected.epochs);
    EXPECT_EQ(got.loss, expected.loss);
    EXPECT_EQ(got.train_accuracy, expected.train_accuracy);
    EXPECT_EQ(got.tune_accuracy, expected.tune_accuracy);
    EXPECT_EQ(got.tune_nll, expected.tune_nll);
    EXPECT_EQ(got.learning_rate, expected.learning_rate);
    EXPECT_EQ(got.images_per_second, expected.images_per_second);
    EXPECT_EQ(got.seconds, expected.seconds);
    EXPECT_EQ(got.loader_wait, expected.loader_wait);
    EXPECT_EQ(got.best, expected.best);
  }
}

TEST_F(Folder, SkipsInvalidLines) {
  const core::FileLock held = run.start({});
  run.log(epoch_report(1));
  std::ofstream(run.metrics(), std::ios::app)
      << "no JSON\n[1]\n{\"epoch\":2}\n{\"epoch\":0,\"loss\":1,\"train_accuracy\":[],"
         "\"tune_accuracy\":[]}\n{\"epoch\":2,\"loss\":1,\"train_accuracy\":[\"x\"],"
         "\"tune_accuracy\":[]}\n{\"epoch\":3,\"loss\":1,\"train_accuracy\":[],\"tune_accuracy\":[]"
         "}"
         "\n{\"epoch\":4,\"lo";
  std::vector<int> epochs;
  for (const EpochReport& r : run.epochs()) epochs.push_back(r.epoch);
  EXPECT_THAT(epochs, ElementsAre(1, 3));
}

TEST_F(Folder, RemovesTheEpochsThatWillBeRunAgain) {
  const core::FileLock held = run.start({});
  for (const int epoch : {1, 2, 3}) run.log(epoch_report(epoch));
  run.remove_epochs_after(1);
  ASSERT_EQ(run.epochs().size(), 1u);
  EXPECT_EQ(run.epochs()[0].epoch, 1);
}

TEST_F(Folder, WithoutFilesHasNothingToRead) {
  EXPECT_EQ(run.recipe_text(), "");
  EXPECT_THAT(run.epochs(), IsEmpty());
}

TEST_F(Folder, KeepsTheRecipe) {
  recipe::Recipe recipe;
  recipe.train.epochs = 17;
  const core::FileLock held = run.start(recipe);
  EXPECT_EQ(run.recipe_text(), recipe::to_toml(recipe));
}

TEST_F(Folder, IsLockedWhileARunGoesOn) {
  {
    const core::FileLock held = run.start({});
    EXPECT_THROW(run.check_not_training(), Error);
    EXPECT_THROW(run.check_free(), Error);
    EXPECT_THROW(run.start({}), Error);
  }
  run.check_not_training();
  run.check_free();
}

TEST_F(Folder, IsNotFreeIfItHoldsAModelOrASearchForExits) {
  fs::create_directory(run.path());
  core::write_text_atomic(run.model(), "");
  EXPECT_THAT([&] { run.check_free(); },
              ThrowsMessage<UsageError>(HasSubstr("already holds a model")));
  EXPECT_THROW(run.start({}), UsageError);
  fs::remove(run.model());
  fs::create_directory(run.heads());
  run.check_free();
  core::write_text_atomic(RunFolder(run.heads()).checkpoint(), "");
  EXPECT_THAT([&] { run.check_free(); },
              ThrowsMessage<UsageError>(HasSubstr("already holds a run")));
  EXPECT_FALSE(fs::exists(run.config()));
}

TEST_F(Folder, IsResumedOnlyIfThereIsACheckpoint) {
  EXPECT_THROW(run.resume(), UsageError);
  EXPECT_FALSE(fs::exists(run.path())) << "asking leaves nothing";
  model::ModelFile model = model::tiny_model();
  fs::create_directory(run.path());
  run.save(run.checkpoint(), model);
  const core::FileLock held = run.resume();
  EXPECT_THROW(run.resume(), Error);
}

TEST_F(Folder, KeepsCertificatesAndPoliciesOfTheModelsItReplaces) {
  fs::create_directory(run.path());
  model::ModelFile model = model::tiny_model();
  model.policy.reset();
  model.provenance.data.certify = {5, 6};
  EXPECT_FALSE(run.save(run.model(), model));
  model::ModelFile calibrated = model::load_model(run.model());
  calibrated.certificates = 3;
  calibrated.policy = policy::ChosenPolicy{
      policy::never_stop(2), policy::HarmGuarantee{0.1},
      policy::Guarantee{"harm", 0.1, 0.1, 0.09, 50, 0, 0.05, "f32", "onednn"},
      policy::TuneExitShares{10, {0.5, 0.5}},
      policy::CertifiedPath{{{policy::never_stop(2).thresholds, 0, 0.9, 1}}, 0}};
  model::save_model(run.model(), calibrated);

  EXPECT_FALSE(run.save(run.last(), model)) << "a file of its own has no policy to keep";
  EXPECT_EQ(model.certificates, 3);
  EXPECT_EQ(model::load_model(run.last()).certificates, 3);
  EXPECT_TRUE(run.save(run.model(), model));
  const model::ModelFile replaced = model::load_model(run.model());
  EXPECT_EQ(replaced.certificates, 3);
  ASSERT_TRUE(replaced.policy);
  EXPECT_EQ(replaced.policy->policy, calibrated.policy->policy);
  EXPECT_FALSE(replaced.policy->guarantee);
  EXPECT_FALSE(replaced.policy->path);
  EXPECT_FALSE(replaced.policy->seen);

  // Certificates of other images do not count, and a damaged file counts as having none.
  model.provenance.data.certify = {5, 7};
  model.certificates = 0;
  EXPECT_EQ(run.recorded_attempts(model), 0);
  core::write_text_atomic(run.best(), "no model");
  EXPECT_EQ(run.recorded_attempts(model), 0);
  EXPECT_FALSE(run.save(run.best(), model));
}

TEST_F(Folder, LosesNoCertificateThatIsCountedWhileItSaves) {
  fs::create_directory(run.path());
  model::ModelFile model = model::tiny_model();
  model.policy.reset();
  run.save(run.model(), model);
  std::atomic<bool> stop = false;
  std::thread training([&] {
    while (!stop) run.save(run.model(), model);
  });
  constexpr int kUses = 40;
  for (int use = 1; use <= kUses; ++use)
    EXPECT_EQ(count_certify_use(run.model(), 0, [](const model::ModelFile&, int) { return true; }),
              use);
  stop = true;
  training.join();
  EXPECT_EQ(model::load_model(run.model()).certificates, kUses);
}

TEST(TrainingDetails, AreReadAsTheyWereWritten) {
  TrainingDetails details;
  details.recipe = "[train]\nepochs = 3\n";
  details.seed = 18446744073709551615u;
  details.commit = "abc";
  details.version = "0.1.0";
  details.step = 24;
  details.epoch = 1.5;
  details.precision = "f32";
  details.device = "cpu";
  details.threads = 2;
  details.seconds = 12.25;
  details.tune_accuracy = {0.5, 0.75};
  model::ModelFile model;
  model.provenance.details_json = to_json(details);
  const TrainingDetails read = training_details(model);
  EXPECT_EQ(read.recipe, details.recipe);
  EXPECT_EQ(read.seed, details.seed);
  EXPECT_EQ(read.commit, details.commit);
  EXPECT_EQ(read.version, details.version);
  EXPECT_EQ(read.step, details.step);
  EXPECT_EQ(read.epoch, details.epoch);
  EXPECT_EQ(read.precision, details.precision);
  EXPECT_EQ(read.device, details.device);
  EXPECT_EQ(read.threads, details.threads);
  EXPECT_EQ(read.seconds, details.seconds);
  EXPECT_EQ(read.tune_accuracy, details.tune_accuracy);
}

TEST(TrainingDetails, OfAnotherTypeStayEmpty) {
  model::ModelFile model;
  for (const char* text : {"no JSON", "[]", "{}",
                           R"({"seed":"x","epoch":[],"threads":1e300,"step":-0.5,"recipe":3})"}) {
    model.provenance.details_json = text;
    const TrainingDetails read = training_details(model);
    EXPECT_FALSE(read.seed || read.epoch || read.threads || read.step || read.seconds) << text;
    EXPECT_EQ(read.recipe, "") << text;
  }
}

TEST_F(Folder, IsFoundByItsPathOrThatOfAModel) {
  EXPECT_THROW(find_run(temporary.path().string()), Error);
  fs::create_directory(run.path());
  model::ModelFile model = model::tiny_model();
  model::save_model(run.model(), model);
  const FoundRun found = find_run(run.path().string());
  EXPECT_EQ(found.name, "run");
  EXPECT_EQ(found.model, run.model());
  EXPECT_EQ(found.folder, run.path());
  const FoundRun alone = find_run(run.model().string());
  EXPECT_EQ(alone.name, "model.safetensors");
  EXPECT_EQ(alone.folder, run.path());
  // If the folder has no recipe, the one stored in the model is used.
  EXPECT_THAT(recipe_text(found, model), HasSubstr("epochs = 3"));
  core::write_text_atomic(run.config(), "[train]\nepochs = 4\n");
  EXPECT_THAT(recipe_text(found, model), HasSubstr("epochs = 4"));
}

}  // namespace
}  // namespace offramp::workflow
