#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "core/file.h"
#include "data/synthetic.h"
#include "model/model_file.h"
#include "tests/support/rank_processes.h"
#include "train/run.h"
#include "workflow/run_folder.h"

// Whole runs of several processes on this machine.
namespace offramp::train {
namespace {

using testing::Each;
using testing::Field;
using testing::HasSubstr;
using workflow::RunFolder;

const data::LoadedData& shapes() {
  static const data::LoadedData data = [] {
    data::LoadedData result;
    result.dataset = data::synthetic_data(32, 32, 300, data::Part::train, 1, 4);
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
  recipe.train.batch = 50;  // 264 training images are 5 steps per epoch
  recipe.train.lr = 0.02;
  recipe.train.precision = recipe::PrecisionChoice::f32;
  recipe.train.threads = 1;
  recipe.train.augmentation.flip = true;
  return recipe;
}

class RanksOfARun : public testing::Test {
 protected:
  RanksOfARun() { shapes(); }
  std::filesystem::path run(const char* name) const { return folder_.path() / name; }

  /// What a rank does after each of its steps.
  using AfterStep = std::function<void(int rank, std::int64_t step, std::atomic<bool>& stop)>;

  static std::string train_in(const std::filesystem::path& folder, const recipe::Recipe& recipe,
                              ProcessGroup* group, bool resume, const AfterStep& after_step) {
    std::atomic<bool> stop{false};
    std::int64_t steps = 0;
    std::string messages;
    TrainRequest request;
    request.recipe = recipe;
    request.data = &shapes();
    request.run = folder;
    request.resume = resume;
    request.stop = &stop;
    request.group = group;
    TrainEvents events;
    events.step = [&](const StepReport&) {
      ++steps;
      if (after_step) after_step(group == nullptr ? 0 : group->rank(), steps, stop);
    };
    const TrainOutcome outcome = train(request, events);
    return fmt::format("{} after {} steps",
                       outcome == TrainOutcome::finished ? "finished" : "not finished", steps);
  }

  std::vector<test::RankResult> train_with(int world, const std::filesystem::path& folder,
                                           const recipe::Recipe& recipe, bool resume = false,
                                           const AfterStep& after_step = {}) {
    return test::run_ranks(world, [&](ProcessGroup& group) {
      return train_in(folder, recipe, &group, resume, after_step);
    });
  }

  /// The largest difference of a weight between the last weights of two runs, relative to the
  /// largest weight of its tensor, or to 0.1: biases begin at 0 and are small after a few steps.
  double difference(const char* a, const char* b) const {
    const auto first = model::load_model(RunFolder(run(a)).last()).weights;
    const auto second = model::load_model(RunFolder(run(b)).last()).weights;
    double largest = 0;
    for (const auto& [name, tensor] : first) {
      const std::vector<float> x = tensor.to_f32(), y = second.at(name).to_f32();
      double scale = 0.1, apart = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        scale = std::max<double>(scale, std::abs(x[i]));
        apart = std::max<double>(apart, std::abs(x[i] - y[i]));
      }
      largest = std::max(largest, apart / scale);
    }
    return largest;
  }

  core::TemporaryFolder folder_;
};

const auto kFinished = Field(&test::RankResult::text, "finished after 10 steps");

// A difference in rounding grows about tenfold in two steps here, so the runs are short.
TEST_F(RanksOfARun, TrainWhatOneProcessTrains) {
  recipe::Recipe recipe = small_recipe();
  recipe.train.epochs = 1;
  const auto finished = Field(&test::RankResult::text, "finished after 5 steps");
  EXPECT_THAT(train_with(2, run("two"), recipe), Each(finished));
  EXPECT_THAT(train_with(3, run("three"), recipe), Each(finished)) << "50 images are 17, 17, 16";
  train_in(run("one"), recipe, nullptr, false, {});
  EXPECT_LT(difference("one", "two"), 2e-2);
  EXPECT_LT(difference("one", "three"), 2e-2);
  EXPECT_EQ(RunFolder(run("two")).epochs().size(), 1u) << "only rank 0 writes";
  const auto one = RunFolder(run("one")).epochs(), two = RunFolder(run("two")).epochs();
  EXPECT_NEAR(one.back().loss, two.back().loss, 1e-2);
}

TEST_F(RanksOfARun, ContinueWithAnotherNumberAfterOneWasKilled) {
  const recipe::Recipe recipe = small_recipe();
  const auto killed =
      train_with(2, run("killed"), recipe, false, [](int rank, std::int64_t step, auto&) {
        if (rank == 1 && step == 7) ::raise(SIGKILL);
      });
  EXPECT_EQ(killed[1].status, 128 + SIGKILL);
  EXPECT_EQ(killed[0].status, 1);
  EXPECT_THAT(killed[0].text, HasSubstr("rank 0: rank 1 has ended or did not answer in time"));
  // The checkpoint is that of the end of the first epoch.
  EXPECT_THAT(train_with(3, run("killed"), recipe, true),
              Each(Field(&test::RankResult::text, "finished after 5 steps")));
  EXPECT_EQ(RunFolder(run("killed")).epochs().size(), 2u);
  EXPECT_THAT(train_with(2, run("whole"), recipe), Each(kFinished));
  EXPECT_LT(difference("killed", "whole"), 1e-2);
}

TEST_F(RanksOfARun, StopAfterTheSameStep) {
  const auto results = train_with(2, run("a"), small_recipe(), false,
                                  [](int rank, std::int64_t step, std::atomic<bool>& stop) {
                                    if (rank == 1 && step == 3) stop = true;
                                  });
  EXPECT_THAT(results, Each(Field(&test::RankResult::text, "not finished after 4 steps")));
}

TEST_F(RanksOfARun, StayEqualInEveryMode) {
  recipe::Recipe plain = small_recipe();
  plain.train.epochs = 1;
  // In a process of its own: one that has trained cannot be forked to train on (LibTorch 2.6).
  EXPECT_THAT(train_with(1, run("plain"), plain),
              Each(Field(&test::RankResult::text, "finished after 5 steps")));
  const auto expect_finished = [&](const char* name, const recipe::Recipe& recipe) {
    // train() compares the weights of the ranks after each epoch.
    for (const auto& [status, text] : train_with(2, run(name), recipe))
      EXPECT_THAT(text, HasSubstr("finished after")) << name;
  };
  recipe::Recipe frozen = plain;
  frozen.train.mode = recipe::Mode::frozen;
  frozen.train.from = RunFolder(run("plain")).last().string();
  expect_finished("frozen", frozen);
  recipe::Recipe mixed = small_recipe();
  mixed.train.mode = recipe::Mode::mixed;
  mixed.train.backbone_epochs = 1;
  expect_finished("mixed", mixed);
  recipe::Recipe distilled = plain;
  distilled.train.distill = 0.5;
  distilled.train.gradient_equilibrium = true;
  distilled.train.sync_batch_norm = recipe::SyncBatchNorm::off;
  distilled.train.ema = 0.9;
  expect_finished("distilled", distilled);
}

TEST_F(RanksOfARun, SayOnAllThatTheFolderIsTaken) {
  recipe::Recipe recipe = small_recipe();
  recipe.train.epochs = 1;
  train_in(run("a"), recipe, nullptr, false, {});
  for (const auto& [status, text] : train_with(2, run("a"), recipe)) {
    EXPECT_EQ(status, 1);
    EXPECT_THAT(text, HasSubstr("holds a run"));
  }
}

}  // namespace
}  // namespace offramp::train
