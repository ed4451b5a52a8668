#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "graph/cost.h"
#include "image/image.h"
#include "model/model_file.h"
#include "runtime/predictor.h"
#include "tests/cli/program.h"
#include "tests/support/graphs.h"
#include "tests/support/random_weights.h"

namespace offramp::test {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

class Bench : public testing::Test {
 protected:
  Bench() {
    model.graph = small_resnet();
    model.weights = random_weights(model.graph, 1);
    model.classes = load_data("synthetic", Part::test, {.synthetic_train = 200}).dataset.classes;
    model.loss_weights = {0.2, 0.3, 0.5};
    save_model(path, model);
  }

  static json bench(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "bench");
    for (const char* more : {"--json", "--seconds", "0.02"}) arguments.emplace_back(more);
    const Ended ended = offramp(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return json::parse(ended.out);
  }

  TemporaryFolder folder;
  ModelFile model;
  std::string path = folder.path() / "model.safetensors";
};

TEST_F(Bench, TimesEveryRowThatIsAskedFor) {
  const json rows = bench({path, "--precision", "f32", "--batch", "1,4", "--threads", "2",
                           "--images", "40", "--threshold", "0.14"});
  ASSERT_EQ(rows.size(), 4u);
  std::vector<std::string> seen;
  for (const json& row : rows) {
    seen.push_back(std::string(row["mode"]) + " " + std::to_string(int(row["batch"])));
    EXPECT_EQ(row["precision"], "f32");
    EXPECT_EQ(row["threads"], 2);
    EXPECT_EQ(row["images"], 40);
    EXPECT_GE(row["rounds"], 5);
    EXPECT_GT(row["images_per_second"], 0.0);
    const json& latency = row["latency_ms"];
    EXPECT_GT(latency["p50"], 0.0);
    EXPECT_LE(latency["p50"], latency["p95"]);
    EXPECT_LE(latency["p95"], latency["p99"]);
    EXPECT_LE(latency["p99"], latency["max"]);
    EXPECT_TRUE(row["accuracy"].is_null());
    EXPECT_EQ(int(row["streams"]) * int(row["threads_each"]), 2);
    EXPECT_NE(row["other_split"]["streams"], row["streams"]);
    EXPECT_EQ(row["machine"].size(), 3u);
  }
  EXPECT_THAT(seen, UnorderedElementsAre("plain 1", "plain 4", "adaptive 1", "adaptive 4"));
  EXPECT_EQ(rows[0]["relative_cost"], 1.0);
  EXPECT_EQ(rows[0]["shares"].size(), 1u);
}

// The same figures as of a run without any timing.
TEST_F(Bench, GivesTheAccuracyAndCostOfTheRunItTimed) {
  const json rows =
      bench({path, "--data", "synthetic", "--precision", "f32", "--batch", "1,8", "--images", "250",
             "--mode", "adaptive,exhaustive", "--threshold", "0.14"});
  ASSERT_EQ(rows.size(), 4u);
  const Cost cost = cost_of(model.graph);
  for (const json& row : rows) {
    SCOPED_TRACE(row.dump());
    double expected = 0, all = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      expected += double(row["shares"][k]) * cost.relative(static_cast<int>(k));
      all += double(row["shares"][k]);
    }
    EXPECT_NEAR(row["relative_cost"], expected, 1e-9);
    EXPECT_NEAR(all, 1, 1e-9);
    const bool adaptive = row["mode"] == "adaptive";
    EXPECT_EQ(row["accuracy"], rows[adaptive ? 0 : 2]["accuracy"]);
    EXPECT_EQ(row["shares"], rows[adaptive ? 0 : 2]["shares"]);
    if (!adaptive) {
      EXPECT_EQ(row["shares"], (json{0.0, 0.0, row["shares"][2]}));
    }
  }
  EXPECT_LT(rows[0]["relative_cost"], rows[2]["relative_cost"]);

  const LoadedData loaded = load_data("synthetic", Part::test, {});
  const Dataset& data = loaded.dataset;
  std::vector<float> pixels(250 * 3072);
  std::vector<std::int64_t> labels;
  for (std::size_t i = 0; i < 250; ++i) {
    const auto index = static_cast<std::int64_t>(i) * data.size() / 250;
    normalise(data.image(index), model.preprocessing, std::span(pixels).subspan(i * 3072, 3072));
    labels.push_back(data.labels[static_cast<std::size_t>(index)]);
  }
  RuntimePredictor predictor(
      std::make_shared<RuntimeModel>(model.graph, model.weights, RuntimeOptions{}));
  const std::vector<float> logits = predictor.predict_all(pixels);
  double right = 0;
  for (std::size_t i = 0; i < 250; ++i) {
    const auto* z = logits.data() + (2 * 250 + i) * 10;
    right += std::max_element(z, z + 10) - z == labels[i];
  }
  EXPECT_DOUBLE_EQ(rows[2]["accuracy"], right / 250);
  EXPECT_THAT(read_text(folder.path() / "test_reads.jsonl"), HasSubstr("offramp bench "));
}

TEST_F(Bench, KeepsWhatItMeasured) {
  const std::string kept = folder.path() / "kept";
  const std::string recipe = folder.path() / "recipe.toml";
  write_text_atomic(recipe, "[network]\nwidth = 4\nexits = [2]\nhead = \"avg\"\n");
  bench({recipe, "--classes", "7", "--precision", "f32", "--batch", "1", "--images", "3", "--keep",
         kept});
  const ModelFile back = load_model(kept + "/model.safetensors");
  EXPECT_EQ(back.classes.size(), 7u);
  const Safetensors file = Safetensors::open(kept + "/answers.safetensors");
  const auto& tensors = file.tensors();
  EXPECT_EQ(tensors.at("images").shape, (Shape{3, 3, 32, 32}));
  EXPECT_EQ(tensors.at("logits").shape, (Shape{2, 3, 7}));
  RuntimePredictor predictor(
      std::make_shared<RuntimeModel>(back.graph, back.weights, RuntimeOptions{}));
  const HostTensor images = tensors.at("images").copy(), logits = tensors.at("logits").copy();
  const std::vector<float> again = predictor.predict_all(images.as<float>());
  EXPECT_TRUE(std::ranges::equal(again, logits.as<float>()));
}

TEST_F(Bench, MeasuresTheMachine) {
  const Ended ended = offramp({"bench", "--ceiling", "--json", "--threads", "1"});
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
  const Ended ended = offramp({"bench", path, "--images", "8", "--seconds", "0.02", "--precision",
                               "f32", "--batch", "2", "--threads", "2"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  for (const char* part : {"images/s", "p99 ms", "of ceiling", "plain", "exhaustive", "is best",
                           "decoding is left out"})
    EXPECT_THAT(ended.out, HasSubstr(part));
}

TEST_F(Bench, RefusesInOneLine) {
  model.provenance.data.train = {load_data("synthetic", Part::test, {}).dataset.hashes[4]};
  save_model(path, model);
  const std::string recipe = std::string(OFFRAMP_CONFIGS) + "/cifar10-plain.toml";
  const auto refused = [](std::vector<std::string> arguments, int status, const std::string& part) {
    arguments.insert(arguments.begin(), "bench");
    const Ended ended = offramp(arguments);
    EXPECT_EQ(ended.status, status);
    EXPECT_THAT(ended.err, HasSubstr(part));
    EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
    EXPECT_EQ(ended.out, "");
  };
  refused({}, 2, "needs a model, or --ceiling");
  refused({path, "--mode", "adaptive"}, 2, "the model has no policy; --threshold gives one");
  refused({path, "--mode", "lazy"}, 2, "--mode");
  refused({path, "--precision", "f23"}, 2, "unknown precision \"f23\"");
  refused({path, "--batch", "0"}, 2, "--batch");
  refused({path, "--data", "synthetic"}, 1, path + ": the model was trained on 1 of these");
  refused({recipe, "--data", "synthetic"}, 2, "there is no accuracy to measure");
}

TEST_F(Bench, DocumentsEveryKeyOfItsJson) {
  const std::string page =
      read_text(std::filesystem::path(OFFRAMP_CONFIGS).parent_path() / "docs" / "bench.md");
  const json rows = bench({path, "--precision", "f32", "--batch", "1", "--images", "4"});
  const Ended ended = offramp({"bench", "--ceiling", "--json", "--threads", "1"});
  for (const json& all : {rows[0], json::parse(ended.out).at(0)})
    for (const auto& [key, value] : all.items()) EXPECT_THAT(page, HasSubstr("`" + key + "`"));
}

}  // namespace
}  // namespace offramp::test
