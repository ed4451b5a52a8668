#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "data/dataset.h"
#include "model/model_file.h"
#include "tests/cli/program.h"
#include "tests/support/models.h"

namespace offramp::test {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

class Bench : public testing::Test {
 protected:
  Bench() {
    model = small_model(
        data::load_data("synthetic", data::Part::test, {.synthetic_train = 200}).dataset.classes);
    model::save_model(path, model);
  }

  static json bench(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "bench");
    for (const char* more : {"--json", "--seconds", "0.02"}) arguments.emplace_back(more);
    const ProgramResult ended = offramp(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return json::parse(ended.out);
  }

  core::TemporaryFolder folder;
  model::ModelFile model;
  std::string path = folder.path() / "model.safetensors";
};

TEST_F(Bench, GivesARowForEachModeAndBatchAsJson) {
  const json rows = bench({path, "--precision", "f32", "--batch", "1,4", "--threads", "2",
                           "--images", "40", "--threshold", "0.14"});
  ASSERT_EQ(rows.size(), 4u);
  std::vector<std::string> seen;
  for (const json& row : rows) {
    seen.push_back(std::string(row["mode"]) + " " + std::to_string(int(row["batch"])));
    EXPECT_EQ(row["precision"], "f32");
    EXPECT_EQ(row["threads"], 2);
    EXPECT_EQ(row["images"], 40);
    EXPECT_TRUE(row["accuracy"].is_null());
    EXPECT_EQ(int(row["streams"]) * int(row["threads_each"]), 2);
    EXPECT_NE(row["other_split"]["streams"], row["streams"]);
    EXPECT_EQ(row["machine"].size(), 3u);
  }
  EXPECT_THAT(seen, UnorderedElementsAre("plain 1", "plain 4", "adaptive 1", "adaptive 4"));
}

TEST_F(Bench, MeasuresTheMachine) {
  const ProgramResult ended = offramp({"bench", "--ceiling", "--json", "--threads", "1"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  for (const json& row : json::parse(ended.out)) {
    EXPECT_THAT((std::vector<std::string>{"f32", "bf16", "int8"}),
                Contains(std::string(row["precision"])));
    EXPECT_GT(row["clock_hz"], 1e8);
    EXPECT_GT(row["macs_per_second"], 1e8);
    EXPECT_EQ(row["cores"], 1);
    EXPECT_DOUBLE_EQ(row["theoretical_macs_per_second"], double(row["macs_per_instruction"]) *
                                                             double(row["instructions_per_cycle"]) *
                                                             double(row["clock_hz"]));
  }
}

TEST_F(Bench, PrintsATableForPeople) {
  const ProgramResult ended = offramp({"bench", path, "--images", "8", "--seconds", "0.02",
                                       "--precision", "f32", "--batch", "2", "--threads", "2"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  for (const char* part : {"images/s", "p99 ms", "of ceiling", "plain", "exhaustive", "is best",
                           "exclude the decoding"})
    EXPECT_THAT(ended.out, HasSubstr(part));
}

TEST_F(Bench, RefusesInOneLine) {
  model.provenance.data.train = {
      data::load_data("synthetic", data::Part::test, {}).dataset.hashes[4]};
  model::save_model(path, model);
  const std::string recipe = std::string(OFFRAMP_CONFIGS) + "/cifar10-plain.toml";
  const auto refused = [](std::vector<std::string> arguments, int status, const std::string& part) {
    arguments.insert(arguments.begin(), "bench");
    const ProgramResult ended = offramp(arguments);
    EXPECT_EQ(ended.status, status);
    EXPECT_THAT(ended.err, HasSubstr(part));
    EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
    EXPECT_EQ(ended.out, "");
  };
  refused({}, 2, "bench: give a model, or --ceiling");
  refused({path, "--mode", "adaptive"}, 2,
          "--mode: adaptive: the model has no policy; give a threshold");
  refused({path, "--mode", "lazy"}, 2, "--mode");
  refused({path, "--precision", "f23"}, 2, "unknown precision \"f23\"");
  refused({path, "--batch", "0"}, 2, "--batch");
  refused({path, "--data", "synthetic"}, 1, path + ": the model was trained on 1 of these");
  refused({recipe, "--data", "synthetic"}, 2,
          "--data: a recipe's network has random weights, so there is no accuracy to measure");
  refused({path, "--images", "3", "--keep", folder.path()}, 2,
          "--keep: " + path + " is an input, so it cannot be the output; choose another file");
}

TEST_F(Bench, DocumentsEveryKeyOfItsJson) {
  const std::string page =
      core::read_text(std::filesystem::path(OFFRAMP_CONFIGS).parent_path() / "docs" / "bench.md");
  const json rows = bench({path, "--precision", "f32", "--batch", "1", "--images", "4"});
  const ProgramResult ended = offramp({"bench", "--ceiling", "--json", "--threads", "1"});
  for (const json& all : {rows[0], json::parse(ended.out).at(0)})
    for (const auto& [key, value] : all.items()) EXPECT_THAT(page, HasSubstr("`" + key + "`"));
}

}  // namespace
}  // namespace offramp::test
