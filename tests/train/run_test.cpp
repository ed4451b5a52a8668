#include "train/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "data/synthetic.h"
#include "model/model_file.h"
#include "workflow/run_folder.h"

namespace offramp::train {
namespace {

using testing::HasSubstr;
using workflow::EpochReport;
using workflow::RunFolder;

const data::LoadedData& shapes() {
  static const data::LoadedData data = [] {
    data::LoadedData result;
    result.dataset = data::synthetic_data(32, 32, 600, data::Part::train, 1, 4);
    result.source = "synthetic";
    return result;
  }();
  return data;
}

recipe::Recipe small_recipe() {
  recipe::Recipe recipe;
  recipe.network.options.width = 4;
  recipe.network.exits = {"2"};
  recipe.train.epochs = 2;
  recipe.train.batch = 64;
  recipe.train.lr = 0.05;
  recipe.train.precision = recipe::PrecisionChoice::f32;
  recipe.train.threads = 2;
  recipe.train.ema = 0.9;
  recipe.train.augmentation.crop_padding = 4;
  recipe.train.augmentation.flip = true;
  return recipe;
}

class Training : public testing::Test {
 protected:
  std::filesystem::path run(const char* name) const { return folder_.path() / name; }

  TrainOutcome start(const recipe::Recipe& recipe, const std::filesystem::path& folder,
                     bool resume = false, int stop_after = 0) {
    std::atomic<bool> stop{false};
    int steps = 0;
    TrainRequest request;
    request.recipe = recipe;
    request.data = &shapes();
    request.run = folder;
    request.resume = resume;
    request.stop = &stop;
    TrainEvents events;
    events.step = [&](const StepReport&) {
      if (++steps == stop_after) stop = true;
    };
    events.message = [&](const std::string& line) { messages_.push_back(line); };
    events.epoch = [&](const EpochReport& report) {
      epochs_.push_back(report);
      if (after_epoch_) after_epoch_(report);
    };
    return train(request, events);
  }

  core::TemporaryFolder folder_;
  std::vector<EpochReport> epochs_;
  std::vector<std::string> messages_;
  std::function<void(const EpochReport&)> after_epoch_;
};

TEST_F(Training, AnInterruptedRunEndsWithTheBitsOfAnUninterruptedOne) {
  recipe::Recipe recipe = small_recipe();
  recipe.train.first_scale = 0.5;  // the first epoch on smaller images
  ASSERT_EQ(start(recipe, run("whole")), TrainOutcome::finished);
  // 528 training images are 8 steps per epoch. The run is stopped inside both epochs and between
  // them.
  ASSERT_EQ(start(recipe, run("parts"), false, 3), TrainOutcome::interrupted);
  ASSERT_EQ(start(recipe, run("parts"), true, 5), TrainOutcome::interrupted);
  ASSERT_EQ(start(recipe, run("parts"), true, 6), TrainOutcome::interrupted);
  ASSERT_EQ(start(recipe, run("parts"), true), TrainOutcome::finished);
  for (const char* file : {"last.safetensors", "ema.safetensors", "best.safetensors"}) {
    const model::ModelFile a = model::load_model(run("whole") / file),
                           b = model::load_model(run("parts") / file);
    EXPECT_EQ(a.weights, b.weights) << file;
  }
  EXPECT_EQ(start(recipe, run("parts"), true), TrainOutcome::already_finished);
  // A run that was killed after its last step writes these files when it is resumed.
  const auto tune_accuracy = [&](const char* folder) {
    return workflow::training_details(model::load_model(run(folder) / "last.safetensors"))
        .tune_accuracy;
  };
  EXPECT_EQ(tune_accuracy("whole").size(), 2u);
  EXPECT_EQ(tune_accuracy("parts"), tune_accuracy("whole"));
}

TEST_F(Training, LogsEachEpochOnceAlsoWhenResumed) {
  const recipe::Recipe recipe = small_recipe();
  start(recipe, run("a"), false, 11);
  start(recipe, run("a"), true);
  std::ifstream lines(run("a") / "metrics.jsonl");
  std::string line;
  std::vector<std::string> all;
  while (std::getline(lines, line)) all.push_back(line);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_THAT(all[0], HasSubstr("\"epoch\":1,"));
  EXPECT_THAT(all[1], HasSubstr("\"epoch\":2,"));
}

TEST_F(Training, RemovesPartlyWrittenFilesOfAKilledRun) {
  const recipe::Recipe recipe = small_recipe();
  start(recipe, run("a"), false, 3);
  std::ofstream(run("a") / ".offramp-123-4.tmp") << "half a checkpoint";
  start(recipe, run("a"), true);
  EXPECT_FALSE(std::filesystem::exists(run("a") / ".offramp-123-4.tmp"));
}

TEST_F(Training, NormalisesAsTheRecipeSays) {
  recipe::Recipe recipe = small_recipe();
  recipe.data.mean = {0.4f, 0.5f, 0.6f};
  recipe.data.std = {0.1f, 0.2f, 0.3f};
  start(recipe, run("first"), false, 1);
  const auto expect_given = [](const core::Preprocessing& p) {
    EXPECT_THAT(p.mean, testing::ElementsAre(0.4f, 0.5f, 0.6f));
    EXPECT_THAT(p.std, testing::ElementsAre(0.1f, 0.2f, 0.3f));
  };
  expect_given(model::load_model(run("first") / "last.safetensors").preprocessing);
  // The preprocessing comes from the model file, unless the recipe sets it.
  recipe::Recipe second = small_recipe();
  second.train.from = (run("first") / "last.safetensors").string();
  start(second, run("second"), false, 1);
  expect_given(model::load_model(run("second") / "last.safetensors").preprocessing);
  second.data.mean = second.data.std = {0.5f, 0.5f, 0.5f};
  start(second, run("third"), false, 1);
  EXPECT_THAT(model::load_model(run("third") / "last.safetensors").preprocessing.mean,
              testing::Each(0.5f));
}

TEST_F(Training, NeverTrainsOnTuneOrCertify) {
  recipe::Recipe recipe = small_recipe();
  recipe.train.epochs = 1;
  start(recipe, run("a"));
  const model::DataProvenance seen =
      model::load_model(run("a") / "model.safetensors").provenance.data;
  // 600 images of 4 classes of 150: 4 % and 8 % of each.
  EXPECT_EQ(seen.tune.size(), 24u);
  EXPECT_EQ(seen.certify.size(), 48u);
  EXPECT_EQ(seen.train.size(), 528u);
  std::vector<std::uint64_t> both;
  for (const auto* held_out : {&seen.tune, &seen.certify})
    std::set_intersection(seen.train.begin(), seen.train.end(), held_out->begin(), held_out->end(),
                          std::back_inserter(both));
  EXPECT_TRUE(both.empty());
}

TEST_F(Training, AFrozenBackboneKeepsEveryBit) {
  recipe::Recipe plain = small_recipe();
  plain.network.exits.clear();
  plain.train.epochs = 1;
  start(plain, run("plain"));
  recipe::Recipe frozen = small_recipe();
  frozen.train.mode = recipe::Mode::frozen;
  frozen.train.ema = 0;
  frozen.train.lr = 0.01;  // the features of the frozen backbone are large
  frozen.train.epochs = 4;
  frozen.train.from = (run("plain") / "last.safetensors").string();
  start(frozen, run("frozen"));
  const model::ModelFile before = model::load_model(run("plain") / "last.safetensors");
  const model::ModelFile after = model::load_model(run("frozen") / "last.safetensors");
  for (const auto& [name, tensor] : before.weights)
    EXPECT_EQ(after.weights.at(name), tensor) << name;
  EXPECT_LT(epochs_.back().loss, epochs_[1].loss);  // the head learned
}

TEST_F(Training, AFrozenLastExitNeedsItsClassifier) {
  recipe::Recipe plain = small_recipe();
  plain.network.exits.clear();
  start(plain, run("plain"), false, 1);
  core::Tensors weights = model::load_model(run("plain") / "last.safetensors").weights;
  weights.erase("fc.weight");
  weights.erase("fc.bias");
  std::filesystem::create_directory(run("bare"));
  core::write_safetensors(run("bare") / "backbone.safetensors", {}, weights);
  recipe::Recipe frozen = small_recipe();
  frozen.train.mode = recipe::Mode::frozen;
  frozen.train.from = (run("bare") / "backbone.safetensors").string();
  try {
    start(frozen, run("frozen"));
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_THAT(e.what(), HasSubstr("has no classifier for these 4 classes"));
  }
  frozen.train.mode = recipe::Mode::joint;
  EXPECT_EQ(start(frozen, run("joint"), false, 1), TrainOutcome::interrupted);
}

TEST_F(Training, TrainingImagesOfTheStartingModelStayTrainingImages) {
  const recipe::Recipe first = small_recipe();
  start(first, run("first"), false, 1);
  recipe::Recipe second = first;
  second.train.from = (run("first") / "last.safetensors").string();
  second.data.split_seed = 2;
  try {
    start(second, run("second"));
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_THAT(e.what(), HasSubstr("was trained on images of this run's tune or certify part"));
  }
  second.data.split_seed = first.data.split_seed;
  // This hash belongs to no image of the run.
  model::ModelFile model = model::load_model(run("first") / "last.safetensors");
  model.provenance.data.train.insert(model.provenance.data.train.begin(), 1);
  model.preprocessing.mean = {0.1f, 0.2f, 0.3f};
  model.certificates = 2;
  model::save_model(run("first") / "last.safetensors", model);
  start(second, run("second"), false, 1);
  const auto check = [&] {
    const model::ModelFile saved = model::load_model(run("second") / "checkpoint.safetensors");
    EXPECT_EQ(saved.provenance.data.train, model.provenance.data.train);
    EXPECT_EQ(saved.preprocessing.mean, model.preprocessing.mean);
    EXPECT_EQ(saved.certificates, 2);
  };
  check();
  EXPECT_EQ(start(second, run("second"), true, 1), TrainOutcome::interrupted);
  check();

  // A certificate may be made while the run is interrupted; the resumed run keeps its count.
  model::ModelFile kept = model::load_model(run("second") / "last.safetensors");
  kept.certificates = 3;
  model::save_model(run("second") / "last.safetensors", kept);
  start(second, run("second"), true, 1);
  EXPECT_EQ(model::load_model(run("second") / "checkpoint.safetensors").certificates, 3);

  // A starting model that shares some certify images with this run, then one that shares none.
  model.provenance.data.certify.resize(2);
  model::save_model(run("first") / "last.safetensors", model);
  start(second, run("some"), false, 1);
  EXPECT_EQ(model::load_model(run("some") / "checkpoint.safetensors").certificates, 2);
  model.provenance.data.certify = {2, 3};
  model::save_model(run("first") / "last.safetensors", model);
  start(second, run("third"), false, 1);
  EXPECT_EQ(model::load_model(run("third") / "checkpoint.safetensors").certificates, 0);
}

// Changes the model of a run as `offramp calibrate` does, while the run is not finished. In a mixed
// training the second epoch is the first that can become the best, so it always does.
TEST_F(Training, ANewBestKeepsCertificatesAndThePolicyWrittenMeanwhile) {
  const RunFolder folder(run("a"));
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(2);
  chosen.aim = policy::HarmGuarantee{0.05};
  chosen.guarantee = policy::Guarantee{"harm", 0.05, 0.1, 0.09, 48, 0, 0.04, "f32", "onednn"};
  chosen.seen = policy::TuneExitShares{24, {0.5, 0.5}};
  after_epoch_ = [&](const EpochReport& report) {
    if (report.epoch != 1) return;
    model::ModelFile model = model::load_model(folder.checkpoint());
    model.certificates = 2;
    model.policy = chosen;
    model::save_model(folder.model(), model);
  };
  recipe::Recipe recipe = small_recipe();
  recipe.train.mode = recipe::Mode::mixed;
  recipe.train.backbone_epochs = 1;
  start(recipe, folder.path());
  ASSERT_EQ(epochs_.size(), 2u);
  ASSERT_TRUE(epochs_[1].best);
  for (const auto& file :
       {folder.checkpoint(), folder.last(), folder.ema(), folder.best(), folder.model()})
    EXPECT_EQ(model::load_model(file).certificates, 2) << file;
  const model::ModelFile model = model::load_model(folder.model());
  ASSERT_TRUE(model.policy);
  EXPECT_EQ(model.policy->policy, chosen.policy);
  EXPECT_EQ(model.policy->aim, chosen.aim);
  EXPECT_FALSE(model.policy->guarantee) << "it was of other weights";
  EXPECT_FALSE(model.policy->seen) << "it was of other weights";
  EXPECT_FALSE(model::load_model(folder.best()).policy);
  EXPECT_THAT(messages_, testing::Contains(HasSubstr("model.safetensors: keeps the policy that was "
                                                     "chosen for earlier weights")));
}

TEST_F(Training, TwoRunsAreNeverInOneFolderAtOnce) {
  const recipe::Recipe recipe = small_recipe();
  start(recipe, run("a"), false, 1);
  const auto refusal = [&](bool resume) -> std::string {
    try {
      start(recipe, run("a"), resume);
    } catch (const Error& e) {
      return e.what();
    }
    return "trained";
  };
  {
    const core::FileLock other = RunFolder(run("a")).resume();
    const std::string expected = run("a").string() + ": another process is training in this folder";
    EXPECT_EQ(refusal(true), expected);
    EXPECT_EQ(refusal(false), expected);
  }
  EXPECT_EQ(refusal(true), "trained");
}

TEST_F(Training, MixedTrainingLeavesTheHeadsAloneInItsFirstPhase) {
  recipe::Recipe recipe = small_recipe();
  recipe.train.mode = recipe::Mode::mixed;
  recipe.train.backbone_epochs = 1;
  recipe.train.ema = 0;
  start(recipe, run("a"), false, 8);  // the first epoch
  const core::Tensors middle = model::load_model(run("a") / "last.safetensors").weights;
  // Its early exits are not trained yet, so no model is saved.
  EXPECT_FALSE(std::filesystem::exists(run("a") / "model.safetensors"));
  recipe::Recipe untrained = recipe;
  start(untrained, run("b"), false, 1);
  const core::Tensors beginning = model::load_model(run("b") / "last.safetensors").weights;
  EXPECT_EQ(middle.at("exits.1.fc.weight"), beginning.at("exits.1.fc.weight"));
  EXPECT_NE(middle.at("fc.weight"), beginning.at("fc.weight"));
  start(recipe, run("a"), true);
  EXPECT_NE(model::load_model(run("a") / "last.safetensors").weights.at("exits.1.fc.weight"),
            beginning.at("exits.1.fc.weight"));
}

TEST_F(Training, ALossThatIsNotFiniteStopsTheRunAndKeepsTheLastCheckpoint) {
  recipe::Recipe recipe = small_recipe();
  recipe.train.lr = 1e30;
  recipe.train.schedule = recipe::Schedule::constant;
  try {
    start(recipe, run("a"));
    FAIL() << "trained on";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("is not finite at learning rate 1e+30"));
    EXPECT_THAT(e.what(), HasSubstr("training stopped at step"));
    EXPECT_THAT(e.what(), HasSubstr("exit 1"));
  }
  EXPECT_NO_THROW(model::load_model(run("a") / "checkpoint.safetensors"));
}

TEST_F(Training, RefusesImagesTooSmallForTheNetworkBeforeItBegins) {
  recipe::Recipe recipe = small_recipe();
  recipe.network.backbone = "vgg11";  // halves its input five times, so small images become empty
  recipe.train.first_scale = 0.5;
  try {
    start(recipe, run("a"));
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_THAT(e.what(), HasSubstr("train.first_scale: the network cannot run on 16 x 16 pixels"));
  }
  EXPECT_FALSE(std::filesystem::exists(run("a")));
}

TEST_F(Training, DoesNotOverwriteARun) {
  const recipe::Recipe recipe = small_recipe();
  start(recipe, run("a"), false, 1);
  EXPECT_THROW(start(recipe, run("a")), UsageError);
}

TEST_F(Training, RefusesToResumeOnOtherImages) {
  recipe::Recipe recipe = small_recipe();
  start(recipe, run("a"), false, 1);
  recipe.data.split_seed = 2;
  try {
    start(recipe, run("a"), true);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("the training images are not those the run began with"));
  }
}

}  // namespace
}  // namespace offramp::train
