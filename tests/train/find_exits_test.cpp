#include "train/find_exits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "data/synthetic.h"
#include "eval/logits_file.h"
#include "graph/graph.h"
#include "model/model_file.h"

namespace offramp::train {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

data::LoadedData shapes(int images = 1000) {
  data::LoadedData data;
  data.dataset = data::synthetic_data(32, 32, images, data::Part::train, 1, 4);
  data.source = "synthetic";
  return data;
}

/// A trained network without early exits, and its data in a file.
class FindExits : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared = std::make_unique<core::TemporaryFolder>();
    const data::LoadedData images = shapes();
    data::write_packed(pack(), images, shapes(100));
    TrainRequest request;
    request.recipe.network.options.width = 4;
    request.recipe.data.split_seed = 7;
    request.recipe.train.epochs = 3;
    request.recipe.train.batch = 64;
    request.recipe.train.precision = recipe::PrecisionChoice::f32;
    request.recipe.train.threads = 1;
    request.data = &images;
    request.run = shared->path() / "plain";
    train(request, {});
  }
  static void TearDownTestSuite() { shared.reset(); }
  static std::string pack() { return shared->path() / "shapes.pack"; }
  static fs::path plain() { return shared->path() / "plain" / "model.safetensors"; }

  FindExits() {
    request.model = plain();
    request.source = pack();
    request.data = &data;
    request.out = ExitsFolder(folder.path() / "exits");
    request.heads = recipe_of_heads(plain(), pack(), {"spp", "avg"}, false);
    request.heads.train.epochs = 1;
    request.place.kinds = {"spp", "avg"};
    request.place.aim = policy::AccuracyDrop{0.2};
    request.place.max_exits = 2;
    request.place.run = {"f32", 1};
  }

  /// Runs the search. @param stop_after  training steps; 0: to the end
  FoundExits find(int stop_after = 0) {
    std::atomic<bool> stop{false};
    steps = 0;
    request.stop = &stop;
    TrainEvents events;
    events.step = [&](const StepReport&) {
      if (++steps == stop_after) stop = true;
    };
    return find_exits(request, events, {});
  }

  static inline std::unique_ptr<core::TemporaryFolder> shared;
  core::TemporaryFolder folder;
  data::LoadedData data = shapes();
  FindExitsRequest request;
  int steps = 0;
};

TEST_F(FindExits, TakesItsRecipeFromTheModels) {
  EXPECT_EQ(request.heads.data.split_seed, 7u);
  EXPECT_EQ(request.heads.train.batch, 64);
  EXPECT_EQ(recipe::exit_places(request.heads), recipe::ExitPlaces::every);
  const recipe::Recipe read = recipe::parse_recipe(to_toml(request.heads), "written");
  EXPECT_EQ(to_toml(read), to_toml(request.heads));
  EXPECT_EQ(recipe_of_heads(plain(), pack(), {"avg"}, true).train.distill, 1);
}

TEST_F(FindExits, AddsTheChosenExitsAndChangesNoOtherWeight) {
  const FoundExits found = find();
  ASSERT_FALSE(found.interrupted);
  ASSERT_FALSE(found.placement.chosen.set.empty());
  const model::ModelFile before = model::load_model(plain()),
                         after = model::load_model(request.out.model());
  EXPECT_EQ(graph::exit_segments(after.graph).size(), found.placement.chosen.set.size() + 1);
  for (const auto& [name, tensor] : before.weights) EXPECT_EQ(after.weights.at(name), tensor);
  ASSERT_TRUE(after.policy);
  ASSERT_TRUE(found.calibration);
  EXPECT_EQ(*after.policy, found.calibration->chosen);
  EXPECT_EQ(after.provenance.data.tune, before.provenance.data.tune);

  // The logits from which the exits were chosen can be read, and give the same choice.
  const eval::SavedLogits logits = eval::load_logits(request.out.tune_logits());
  EXPECT_EQ(logits.labels.size(), before.provenance.data.tune.size());
  EXPECT_THAT(logits.metadata.at("exit 2"), testing::StartsWith("avg after "));
  const workflow::ExitPlacement again =
      workflow::place_exits(model::load_model(request.out.heads().last()), logits, request.place);
  EXPECT_EQ(again.chosen.set, found.placement.chosen.set);
}

TEST_F(FindExits, ContinuesWhereItWasInterruptedWithTheSameBits) {
  find();
  const core::Tensors whole = model::load_model(request.out.heads().last()).weights;
  request.out = ExitsFolder(folder.path() / "parts");
  EXPECT_TRUE(find(5).interrupted);
  EXPECT_FALSE(fs::exists(request.out.model()));
  EXPECT_FALSE(find().interrupted);
  EXPECT_EQ(model::load_model(request.out.heads().last()).weights, whole);
  EXPECT_TRUE(fs::exists(request.out.model()));
}

TEST_F(FindExits, ChoosesAgainForAnotherAimWithoutTraining) {
  find();
  EXPECT_GT(steps, 0);
  request.place.aim = policy::MaxCost{0.5};
  request.place.max_exits = 1;
  const FoundExits again = find();
  EXPECT_EQ(steps, 0);
  EXPECT_LE(again.placement.chosen.set.size(), 1u);
  request.heads.train.epochs = 2;
  EXPECT_THAT([&] { find(); }, ThrowsMessage<UsageError>(HasSubstr("with other settings")));
}

TEST_F(FindExits, TrainsTheWholeNetworkAfterwards) {
  request.joint = recipe_of_joint_training(plain(), pack(), 1);
  request.joint->train.precision = recipe::PrecisionChoice::f32;
  const FoundExits found = find();
  ASSERT_TRUE(found.calibration);
  const model::ModelFile joint = model::load_model(request.out.joint().model()),
                         after = model::load_model(request.out.model());
  EXPECT_EQ(after.weights, joint.weights);
  EXPECT_NE(after.weights.at("fc.weight"), model::load_model(plain()).weights.at("fc.weight"));
  find();
  EXPECT_EQ(steps, 0);  // both trainings are finished
  // Other exits cannot be trained in the same folder.
  request.place.kinds = {"spp", "avg"};
  request.place.aim = policy::MaxCost{found.placement.chosen.set.size() == 1 ? 0.9 : 0.3};
  request.place.max_exits = found.placement.chosen.set.size() == 1 ? 2 : 1;
  EXPECT_THAT([&] { find(); },
              ThrowsMessage<UsageError>(HasSubstr("of a network with other exits")));
}

TEST_F(FindExits, LearnsFromTheNetworksAnswersIfLabelFree) {
  // The classes of the data have no meaning for the network.
  data.dataset.classes = {"a", "b", "c", "d"};
  request.heads = recipe_of_heads(plain(), pack(), {"spp", "avg"}, true);
  request.heads.train.epochs = 1;
  request.place.label_free = true;
  const FoundExits found = find();
  EXPECT_EQ(found.placement.last_accuracy, 1);
  const eval::SavedLogits logits = eval::load_logits(request.out.tune_logits());
  // The parts are those of the network, although the labels were replaced.
  EXPECT_EQ(model::load_model(request.out.heads().last()).provenance.data.tune,
            model::load_model(plain()).provenance.data.tune);
  EXPECT_EQ(model::load_model(request.out.heads().last()).classes,
            model::load_model(plain()).classes);
  // The certify images were not run.
  for (const std::int64_t i :
       data::split_training(shapes().dataset, request.heads.data.split_seed).certify)
    EXPECT_EQ(data.dataset.labels[static_cast<std::size_t>(i)], 0);
}

TEST_F(FindExits, CountsACertificateInTheModelWhoseImagesItUses) {
  const fs::path model = folder.path() / "model.safetensors";
  fs::copy_file(plain(), model);
  request.model = model;
  request.heads = recipe_of_heads(model, pack(), {"spp", "avg"}, false);
  request.heads.train.epochs = 1;
  request.place.aim = policy::HarmGuarantee{.epsilon = 0.3};
  find();
  EXPECT_EQ(model::load_model(model).certificates, 1);
  EXPECT_EQ(model::load_model(request.out.model()).certificates, 1);
  find();
  EXPECT_EQ(model::load_model(model).certificates, 2);
  EXPECT_EQ(model::load_model(request.out.model()).certificates, 2);
}

// With fewer images to train on, fewer are certified on, but most of them are the same.
TEST_F(FindExits, CountsACertificateThatUsesSomeOfTheModelsImages) {
  const fs::path model = folder.path() / "model.safetensors";
  fs::copy_file(plain(), model);
  request.model = model;
  request.heads = recipe_of_heads(model, pack(), {"spp"}, false);
  request.heads.train.epochs = 1;
  request.place.kinds = {"spp"};
  request.place.aim = policy::HarmGuarantee{.epsilon = 0.3};
  const data::Splits parts = data::split_training(data.dataset, request.heads.data.split_seed);
  std::vector<std::int64_t> left_out(10, 0);  // of each class
  data::Dataset fewer = data.dataset;
  fewer.pixels.clear();
  fewer.labels.clear();
  fewer.names.clear();
  fewer.hashes.clear();
  for (std::int64_t i = 0; i < data.dataset.size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::int64_t label = data.dataset.labels[at];
    if (std::ranges::binary_search(parts.train, i) &&
        ++left_out[static_cast<std::size_t>(label)] <= 25)
      continue;
    const auto size = std::ssize(data.dataset.pixels) / data.dataset.size();
    const auto pixels = data.dataset.pixels.begin() + i * size;
    fewer.pixels.insert(fewer.pixels.end(), pixels, pixels + size);
    fewer.labels.push_back(label);
    fewer.names.push_back(data.dataset.names[at]);
    fewer.hashes.push_back(data.dataset.hashes[at]);
  }
  data.dataset = fewer;
  find();
  EXPECT_NE(model::load_model(request.out.model()).provenance.data.certify,
            model::load_model(model).provenance.data.certify);
  EXPECT_EQ(model::load_model(model).certificates, 1);
  request.out = ExitsFolder(folder.path() / "another");
  find();
  EXPECT_EQ(model::load_model(request.out.model()).certificates, 2);
}

TEST_F(FindExits, TrainsNothingIfThereAreTooFewImagesToCertify) {
  request.place.aim = policy::HarmGuarantee{.epsilon = 0.001};
  EXPECT_THAT([&] { find(); }, ThrowsMessage<Error>(HasSubstr("certify images are too few")));
  EXPECT_EQ(steps, 0);
  EXPECT_FALSE(fs::exists(request.out.heads().path()));
}

TEST_F(FindExits, RefusesTheFolderOfAnotherRunOrModel) {
  request.out = ExitsFolder(plain().parent_path());
  EXPECT_THAT([&] { find(); }, ThrowsMessage<UsageError>(HasSubstr("holds another run or model")));
  const fs::path alone = folder.path() / "alone";
  fs::create_directory(alone);
  fs::copy_file(plain(), alone / "model.safetensors");
  request.out = ExitsFolder(alone);
  EXPECT_THAT([&] { find(); }, ThrowsMessage<UsageError>(HasSubstr("holds another run or model")));
}

TEST_F(FindExits, LocksItsFolder) {
  fs::create_directory(request.out.path());
  const core::FileLock held = request.out.whole().lock();
  EXPECT_THAT([&] { find(); }, ThrowsMessage<Error>(HasSubstr("another process")));
}

TEST_F(FindExits, KeepsTheRecipeThatItsHeadsWereTrainedBy) {
  request.recipe = recipe::Recipe{};
  request.recipe->train.lr = 0.25;
  EXPECT_TRUE(find(5).interrupted);
  request.recipe->train.lr = 0.5;
  request.heads.train.epochs = 2;
  EXPECT_THAT([&] { find(); }, ThrowsMessage<UsageError>(HasSubstr("with other settings")));
  EXPECT_EQ(recipe::read_recipe(request.out.whole().config()).train.lr, 0.25);
}

TEST_F(FindExits, RefusesHeadsOfANetworkThatWasTrainedOn) {
  const fs::path path = folder.path() / "model.safetensors";
  fs::copy_file(plain(), path);
  request.model = path;
  request.heads.train.from = path.string();
  EXPECT_TRUE(find(5).interrupted);
  model::ModelFile changed = model::load_model(path);
  for (float& value : changed.weights.at("fc.bias").as<float>()) value += 1;
  model::save_model(path, changed);
  EXPECT_THAT([&] { find(); }, ThrowsMessage<UsageError>(HasSubstr("with other weights than")));
}

TEST_F(FindExits, RefusesANetworkThatDoesNotFitTheData) {
  data.dataset.classes = {"a", "b", "c", "d"};
  EXPECT_THAT([&] { find(); }, ThrowsMessage<UsageError>(HasSubstr("the classes of")));
}

}  // namespace
}  // namespace offramp::train
