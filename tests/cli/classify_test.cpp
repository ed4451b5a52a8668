#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/file.h"
#include "data/dataset.h"
#include "image/image.h"
#include "model/model_file.h"
#include "runtime/precision.h"
#include "tests/cli/program.h"
#include "tests/support/models.h"

namespace offramp::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

/// A run folder with a model of random weights, and two images.
class Classify : public testing::Test {
 protected:
  Classify() {
    data::LoadOptions options;
    options.synthetic_train = 20;
    options.synthetic_test = 10;
    images_ = data::load_data("synthetic", data::Part::test, options).dataset;
    model = small_model(images_.classes);
    fs::create_directory(run);
    model::save_model(path, model);
    first = write_png(folder.path() / "first.png", images_, 0);
    second = write_png(folder.path() / "second.png", images_, 1);
  }

  core::TemporaryFolder folder;
  std::string run = folder.path() / "run", path = run + "/model.safetensors";
  model::ModelFile model;
  std::string first, second;

 private:
  data::Dataset images_;
};

TEST_F(Classify, GivesProbabilitiesAndMillisecondsInJson) {
  const ProgramResult ended = offramp({"classify", path, first, second, "--json"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  for (const json& answer : json_lines(ended.out)) {
    const auto probabilities = answer["probabilities"].get<std::vector<double>>();
    ASSERT_EQ(probabilities.size(), model.classes.size());
    EXPECT_NEAR(std::accumulate(probabilities.begin(), probabilities.end(), 0.0), 1, 1e-5);
    const auto best = std::ranges::max_element(probabilities) - probabilities.begin();
    EXPECT_EQ(answer["class"], model.classes[static_cast<std::size_t>(best)]);
    EXPECT_EQ(answer["probability"], probabilities[static_cast<std::size_t>(best)]);
    EXPECT_GT(answer["ms_per_image"], 0.0);
    EXPECT_FALSE(answer.contains("top"));
  }
}

TEST_F(Classify, ShowsTheMostProbableClassesIfAsked) {
  const ProgramResult ended = offramp({"classify", path, first, "--json", "--top-k", "3"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const json answer = json_lines(ended.out).at(0);
  ASSERT_EQ(answer["top"].size(), 3u);
  EXPECT_EQ(answer["top"][0]["class"], answer["class"]);
  double last = 1;
  for (const json& one : answer["top"]) {
    const auto c = one["class_index"].get<std::size_t>();
    EXPECT_EQ(one["class"], model.classes.at(c));
    EXPECT_EQ(one["probability"], answer["probabilities"][c]);
    EXPECT_LE(one["probability"], last);
    last = one["probability"];
  }
  const ProgramResult text = offramp({"classify", path, first, "--top-k", "1000"});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("  top: "));
  for (const std::string& name : model.classes) EXPECT_THAT(text.out, HasSubstr(name + " 0."));
  EXPECT_EQ(offramp({"classify", path, first, "--top-k", "0"}).status, 2);
}

TEST_F(Classify, RecognisesAnImageOnStandardInput) {
  json from_file = json_lines(offramp({"classify", path, first, "--json"}).out).at(0);
  const ProgramResult ended =
      offramp({"classify", path, "-", "--json"}, {.input = core::read_text(first)});
  ASSERT_EQ(ended.status, 0) << ended.err;
  ASSERT_EQ(json_lines(ended.out).size(), 1u);
  json from_input = json_lines(ended.out).at(0);
  EXPECT_EQ(from_input["image"], "-");
  EXPECT_EQ(from_input["probabilities"], from_file["probabilities"]);

  // Whatever is given as an argument comes first.
  const ProgramResult both =
      offramp({"classify", path, "-", second, "--json"}, {.input = core::read_text(first)});
  ASSERT_EQ(both.status, 0) << both.err;
  ASSERT_EQ(json_lines(both.out).size(), 2u);
  EXPECT_EQ(json_lines(both.out)[0]["image"], second);
  EXPECT_EQ(json_lines(both.out)[1]["probabilities"], from_file["probabilities"]);
}

TEST_F(Classify, RecognisesAWebpAndABmpOnStandardInput) {
  const std::string images = OFFRAMP_SOURCE "/tests/data/images/";
  for (const std::string name : {"lossless.webp", "rgb24.bmp"}) {
    const ProgramResult golden = offramp({"classify", path, images + name + ".png", "--json"});
    const ProgramResult ended =
        offramp({"classify", path, "-", "--json"}, {.input = core::read_text(images + name)});
    ASSERT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(json_lines(ended.out).at(0)["probabilities"],
              json_lines(golden.out).at(0)["probabilities"]);
    EXPECT_EQ(json_lines(ended.out).at(0)["image"], "-");
  }
}

TEST_F(Classify, ReportsADamagedImageOnStandardInput) {
  const std::string bytes = core::read_text(first);
  const ProgramResult ended =
      offramp({"classify", path, "-"}, {.input = bytes.substr(0, bytes.size() / 2)});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, testing::StartsWith("offramp: -: "));
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
}

TEST_F(Classify, SaysThatTheModelComesFirst) {
  const ProgramResult ended = offramp({"classify", first, path});
  EXPECT_EQ(ended.status, 2);
  EXPECT_EQ(ended.err, "offramp: " + first +
                           ": an image, but the model comes first: offramp classify MODEL "
                           "IMAGES…\n");
}

TEST_F(Classify, ReadsPathsThatBeginLikeAnImage) {
  fs::copy_file(first, folder.path() / "BM.png");
  fs::copy_file(first, folder.path() / "RIFF.png");
  for (const std::string name : {"BM.png", "RIFF.png"}) {
    const ProgramResult ended =
        offramp({"classify", path, "-", "--json"}, {.input = name + "\n", .folder = folder.path()});
    ASSERT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(json_lines(ended.out).at(0)["image"], name);
  }
}

TEST_F(Classify, ARunFolderStandsForItsModelInEveryCommand) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"classify", run, first},
        {"info", run},
        {"info", run, "--compiled"},
        {"test", run, "--data", "synthetic", "--compare", run},
        {"bench", run, "--images", "8", "--seconds", "0.01", "--precision", "f32", "--mode",
         "plain"}}) {
    const ProgramResult ended = offramp(command);
    EXPECT_EQ(ended.status, 0) << testing::PrintToString(command) << ended.err;
  }
  // These need the images that a model was trained on, which this one does not list. The message
  // shows that the model was read.
  for (const char* command : {"calibrate", "quantize"}) {
    if (command == std::string_view("quantize") &&
        !runtime::has_instructions_for(runtime::Precision::int8))
      continue;  // refused before the images are looked for
    std::vector<std::string> words = {command, run, "--data", "synthetic"};
    if (words[0] == "calibrate") words.insert(words.end(), {"--threshold", "0.5"});
    const ProgramResult ended = offramp(words);
    EXPECT_EQ(ended.status, 1);
    EXPECT_THAT(ended.err, HasSubstr(path + ": the model does not list"));
  }
  fs::remove(path);
  const ProgramResult ended = offramp({"classify", run, first});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "offramp: " + run +
                           ": contains no model.safetensors; expected a run folder or a model "
                           "file\n");
}

}  // namespace
}  // namespace offramp::test
