#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/parallel.h"
#include "graph/network_spec.h"
#include "model/model_file.h"
#include "tests/cli/program.h"
#include "tests/support/models.h"

namespace offramp::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json info_of(const std::string& path, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"info", path, "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const ProgramResult ended = offramp(arguments);
  EXPECT_EQ(ended.status, 0) << ended.err;
  return json::parse(ended.out);
}

// 555,422,720 MACs and 27.5 % of them after block 2, 51.7 % after block 4 are published figures of
// this network; a head of max SPP 1, 2, 4 costs channels * 21 * 10.
TEST(Info, GivesTheCostOfARecipe) {
  const json info = info_of(std::string(OFFRAMP_CONFIGS) + "/original/3-exits-spp.toml");
  EXPECT_EQ(info["macs"], 555422720);
  ASSERT_EQ(info["exits"].size(), 3u);
  std::vector<std::string> keys;
  for (const auto& item : info["exits"][0].items()) keys.push_back(item.key());
  EXPECT_THAT(keys, ElementsAre("after", "exit", "macs", "relative_cost"));
  EXPECT_EQ(info["exits"][0]["exit"], 1);
  EXPECT_EQ(info["exits"][0]["after"], "layer1.1");
  EXPECT_EQ(info["exits"][1]["after"], "layer2.1");
  EXPECT_EQ(info["exits"][2]["after"], "layer4.1");
  EXPECT_NEAR(info["exits"][0]["relative_cost"], 0.275, 0.001);
  EXPECT_NEAR(info["exits"][1]["relative_cost"], 0.517, 0.001);
  // The cost of the last exit includes both early heads.
  EXPECT_EQ(info["exits"][2]["macs"], 555422720 + (64 + 128) * 21 * 10);
}

TEST(Info, TakesZeroThreadsAsAllCores) {
  const std::string recipe = std::string(OFFRAMP_CONFIGS) + "/quickstart.toml";
  const json info = info_of(recipe, {"--compiled", "--batch", "1", "--threads", "0"});
  EXPECT_EQ(info["threads"], core::usable_cores());
}

TEST(Info, TakesARecipesClassesFromAFlag) {
  const std::string recipe = std::string(OFFRAMP_CONFIGS) + "/original/plain.toml";
  // torchvision's ResNet-18 with a 3x3 stem: the classifier alone depends on the classes.
  const std::int64_t ten = info_of(recipe)["parameters"];
  const std::int64_t hundred = info_of(recipe, {"--classes", "100"})["parameters"];
  EXPECT_EQ(hundred - ten, 90 * (512 + 1));
}

TEST(Info, SaysTheSameOfAModelAsOfItsRecipe) {
  const core::TemporaryFolder folder;
  const model::ModelFile model = small_model();
  const std::string path = folder.path() / "model.safetensors";
  model::save_model(path, model);
  const json info = info_of(path);
  EXPECT_EQ(info["exits"].size(), 3u);
  const ProgramResult ended = offramp({"info", path});
  EXPECT_EQ(ended.status, 0);
  for (const char* part : {"class 9", "conv1", "relative cost", "exit 3"})
    EXPECT_THAT(ended.out, HasSubstr(part));
}

TEST(Info, ShowsWhatARecipesNetworkIsCompiledTo) {
  const std::string recipe = std::string(OFFRAMP_CONFIGS) + "/quickstart.toml";
  const json info = info_of(recipe, {"--compiled", "--batch", "2", "--threads", "1"});
  std::vector<std::string> keys;
  for (const auto& item : info.items()) keys.push_back(item.key());
  EXPECT_THAT(keys,
              ElementsAre("batch", "implementations", "kernels", "operations", "precision",
                          "reference_operations", "threads", "weight_bytes", "workspace_bytes"));
  int counted = 0;
  for (const auto& item : info["implementations"].items()) counted += int(item.value());
  EXPECT_EQ(counted, info["operations"].size());
  EXPECT_EQ(info["operations"][0]["segment"], "1");
  EXPECT_EQ(info["reference_operations"], 0);
  const ProgramResult ended = offramp({"info", recipe, "--compiled"});
  EXPECT_EQ(ended.status, 0);
  for (const char* part : {"implementation", "none is a slow reference implementation", "weights ",
                           "workspace of a stream"})
    EXPECT_THAT(ended.out, HasSubstr(part));
  const ProgramResult refused = offramp({"info", recipe, "--batch", "2"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("--compiled"));
}

TEST(Info, RefusesARecipeAtItsLine) {
  const core::TemporaryFolder folder;
  const std::string path = folder.path() / "r.toml";
  core::write_text_atomic(path, "[network]\nexits = [2]\nhaed = \"spp\"\n");
  const ProgramResult ended = offramp({"info", path});
  EXPECT_EQ(ended.status, 2);
  EXPECT_EQ(ended.err, "offramp: " + path + ":3: unknown key \"haed\"; did you mean \"head\"?\n");
}

TEST(Info, RefusesFilesThatAreNoModels) {
  const core::TemporaryFolder folder;
  const std::string path = folder.path() / "model.safetensors";
  for (const std::string& content :
       {std::string(), std::string("hello"), std::string(8, '\xff'), std::string(100, '\0')}) {
    core::write_text_atomic(path, content);
    const ProgramResult ended = offramp({"info", path});
    EXPECT_EQ(ended.status, 1);
    EXPECT_THAT(ended.err, HasSubstr("offramp: " + path + ": "));
    EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  }
  const ProgramResult ended = offramp({"info", folder.path()});
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
}

}  // namespace
}  // namespace offramp::test
