#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/file.h"
#include "data/synthetic.h"
#include "model/model_file.h"
#include "tests/cli/program.h"

namespace offramp::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kRecipe = R"([network]
width = 4
[train]
epochs = 2
batch = 64
precision = "f32"
threads = 1
)";

/// A trained network without early exits, and its data.
class Exits : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared = std::make_unique<core::TemporaryFolder>();
    data::LoadedData train, test;
    train.dataset = data::synthetic_data(32, 32, 1500, data::Part::train, 1, 4);
    test.dataset = data::synthetic_data(32, 32, 60, data::Part::test, 1, 4);
    train.source = test.source = "synthetic";
    data::write_packed(pack(), train, test);
    core::write_text_atomic(shared->path() / "plain.toml", kRecipe);
    ASSERT_EQ(
        offramp({"train", shared->path() / "plain.toml", "--data", pack(), "-o", plain()}).status,
        0);
  }
  static void TearDownTestSuite() { shared.reset(); }
  static std::string pack() { return shared->path() / "shapes.pack"; }
  static std::string plain() { return shared->path() / "plain"; }

  ProgramResult exits(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"exits", plain(),          "--data",  pack(),      "-o",
                                          out,     "--heads",        "spp,avg", "--threads", "1",
                                          "--set", "train.epochs=1", "--set",   "batch=64"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return offramp(arguments);
  }

  static inline std::unique_ptr<core::TemporaryFolder> shared;
  core::TemporaryFolder folder;
  std::string out = folder.path() / "exits";
};

TEST_F(Exits, AreAddedToATrainedNetwork) {
  const ProgramResult first = exits({"--max-accuracy-drop", "0.2", "--json"});
  ASSERT_EQ(first.status, 0) << first.err;
  const auto json = nlohmann::json::parse(first.out);
  EXPECT_EQ(json["candidates"].size(), 16u);
  EXPECT_EQ(json["tune_images"], 60);
  ASSERT_FALSE(json["chosen"]["exits"].empty());
  EXPECT_EQ(json["policy"]["met"], true);
  EXPECT_EQ(core::read_text(fs::path(out) / "exits.json"), first.out);
  EXPECT_THAT(core::read_text(fs::path(out) / "exits.html"), HasSubstr("Accuracy along the depth"));
  const ProgramResult tested = offramp({"test", out, "--data", pack(), "--json"});
  EXPECT_EQ(tested.status, 0) << tested.err;
  EXPECT_EQ(nlohmann::json::parse(tested.out)["exits"].size(), json["chosen"]["exits"].size() + 1);

  // With another aim, the exits are chosen again from the same heads.
  const ProgramResult second = exits({"--max-cost", "0.6", "--max-exits", "1"});
  ASSERT_EQ(second.status, 0) << second.err;
  EXPECT_THAT(second.out, HasSubstr("for --max-cost 0.6"));
  EXPECT_THAT(second.out, HasSubstr("On images that the search did not use"));
  EXPECT_THAT(second.err, Not(HasSubstr("epoch ")));  // nothing is trained again
}

TEST_F(Exits, AreFoundByARecipe) {
  const fs::path recipe = folder.path() / "auto.toml";
  core::write_text_atomic(
      recipe,
      "[network]\nexits = \"auto\"\nhead = [\"avg\"]\n"
      "[exits]\nmax_exits = 1\nmax_accuracy_drop = 0.3\nhead_epochs = 1\n"
      "[train]\nepochs = 1\nbatch = 64\nlr = 0.02\nprecision = \"f32\"\nthreads = 1\n"
      "from = \"" +
          plain() + "\"\n");
  const ProgramResult ended = offramp({"train", recipe, "--data", pack(), "-o", out});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("it was trained as a whole for 1 epochs"));
  const model::ModelFile model = model::load_model(fs::path(out) / "model.safetensors");
  EXPECT_EQ(graph::exit_segments(model.graph).size(), 2u);
  EXPECT_TRUE(model.policy);
  EXPECT_EQ(offramp({"info", recipe}).status, 2);  // the recipe alone describes no network
  // Neither a training nor a search with other heads replaces what the folder holds.
  const std::string config = core::read_text(fs::path(out) / "config.toml");
  const ProgramResult again =
      offramp({"train", recipe, "--data", pack(), "-o", out, "--epochs", "2"});
  EXPECT_EQ(again.status, 2);
  EXPECT_THAT(again.err, HasSubstr("already holds a run"));
  EXPECT_EQ(exits({"--max-accuracy-drop", "0.2"}).status, 2);
  EXPECT_EQ(core::read_text(fs::path(out) / "config.toml"), config);
}

TEST_F(Exits, RefuseFlagsThatDoNotGoTogether) {
  const auto refusal = [&](const std::vector<std::string>& more) {
    const ProgramResult ended = exits(more);
    EXPECT_EQ(ended.status, 2);
    EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
    return ended.err;
  };
  EXPECT_THAT(refusal({}), HasSubstr("give one of --max-accuracy-drop, --max-cost"));
  EXPECT_THAT(refusal({"--max-cost", "0.5", "--guarantee", "0.1"}), HasSubstr("give one of"));
  EXPECT_THAT(refusal({"--max-cost", "0.5", "--then", "joint"}), HasSubstr("give both"));
  EXPECT_THAT(refusal({"--max-cost", "0.5", "--then", "joint", "--epochs", "1", "--label-free"}),
              HasSubstr("needs labels"));
  EXPECT_THAT(refusal({"--max-cost", "0.5", "--criterion", "patience"}), HasSubstr("patience"));
  EXPECT_THAT(refusal({"--max-cost", "0.5", "--set", "exits=2"}), HasSubstr("places the exits"));
  EXPECT_THAT(refusal({"--max-cost", "0"}), HasSubstr("--max-cost"));
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace offramp::test
