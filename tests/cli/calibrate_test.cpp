#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/file.h"
#include "data/dataset.h"
#include "model/model_file.h"
#include "tests/cli/program.h"
#include "tests/workflow/scenes.h"

namespace offramp::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

/// A model with known logits and its data, on which the program is run. These tests cover flags and
/// output; tests/workflow/calibrate_test.cpp tests which policy is chosen.
class Calibrate : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared = std::make_unique<core::TemporaryFolder>();
    train = training_scenes();
    data::write_packed(data(), train, test_scenes());
  }
  static void TearDownTestSuite() { shared.reset(); }
  static std::string data() { return shared->path() / "scenes.pack"; }

  Calibrate() {
    model.provenance.data = parts_of(train.dataset);
    model::save_model(path, model);
  }

  ProgramResult run(std::vector<std::string> flags) const {
    flags.insert(flags.begin(), {"calibrate", path, "--data", data(), "--threads", "1"});
    return offramp(flags);
  }

  void expect_refused(const std::vector<std::string>& flags, const std::string& message,
                      int status) {
    const std::string before = core::read_text(path);
    const ProgramResult ended = run(flags);
    EXPECT_EQ(ended.status, status) << testing::PrintToString(flags);
    EXPECT_EQ(ended.err, "offramp: " + message + "\n");
    EXPECT_EQ(ended.out, "");
    EXPECT_EQ(core::read_text(path), before);
  }

  static inline data::LoadedData train;
  static inline std::unique_ptr<core::TemporaryFolder> shared;
  core::TemporaryFolder folder;
  model::ModelFile model = three_exit_model();
  std::string path = folder.path() / "model.safetensors";
  std::string out = folder.path() / "out.safetensors";
};

TEST_F(Calibrate, ExitsWithTwoOnWrongUsage) {
  expect_refused({},
                 "calibrate: give one of --threshold, --max-accuracy-drop, --max-cost and "
                 "--guarantee, got none",
                 2);
  expect_refused(
      {"--max-cost", "1", "--out", data()},
      "--out: " + data() + " is an input, so it cannot be the output; choose another file", 2);
  expect_refused(
      {"--max-costs", "1"},
      R"(unexpected flag "--max-costs"; did you mean "--max-cost"?; see offramp calibrate --help)",
      2);
}

TEST_F(Calibrate, ExitsWithOneIfTheModelWasTrainedOnTheImages) {
  model.provenance.data.train = {model.provenance.data.tune[3]};
  model::save_model(path, model);
  const ProgramResult ended = run({"--max-cost", "1"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, HasSubstr(path + ": the model was trained on 1 of these 400 images"));
  EXPECT_EQ(ended.err.find("--skip-trained"), std::string::npos) << "there is no such flag here";
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
}

TEST_F(Calibrate, PrintsATableForPeople) {
  const ProgramResult ended = run({"--threshold", "0.9", "--ensemble", "weighted", "--out", out});
  ASSERT_EQ(ended.status, 0) << ended.err;
  for (const std::string& part :
       {std::string("Chosen on 400 tune images by --threshold 0.9; an exit answers with the "
                    "weighted mean of the exits so far\n"),
        std::string("stop where confidence ≥"), std::string("weight"), std::string("0.9000"),
        std::string("on tune (replayed): accuracy "),
        std::string("relative cost 1 is the network without early exits\n"),
        "written to " + out + ": the policy is new, the weights are unchanged\n"})
    EXPECT_THAT(ended.out, HasSubstr(part));
  EXPECT_EQ(ended.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(ended.err, "");
  EXPECT_FALSE(model::load_model(path).policy);
}

TEST_F(Calibrate, SaysWhyAnAimCannotBeMet) {
  EXPECT_THAT(run({"--max-cost", "0.6", "--drop-useless-exits"}).out,
              HasSubstr("no exit was dropped: each saves more than its head costs\n"));
  const ProgramResult text = run({"--max-cost", "0.3", "--ensemble", "weighted"});
  EXPECT_EQ(text.status, 0);
  EXPECT_THAT(text.out, AllOf(HasSubstr("the aim cannot be met on tune: the lowest cost, with "
                                        "every image stopped at exit 1, is 0.342; every image goes "
                                        "to the last exit\n"),
                              HasSubstr("replaces the policy chosen by --max-cost 0.6\n")));
}

TEST_F(Calibrate, SaysWhatIsCertified) {
  auto& parts = model.provenance.data;
  parts.tune.insert(parts.tune.begin(), {1, 2});
  parts.certify.insert(parts.certify.begin(), {3, 4, 5});
  model::save_model(path, model);
  const ProgramResult text =
      run({"--guarantee", "0.05", "--delta", "0.1", "--label-free", "--per-class"});
  EXPECT_THAT(text.out, AllOf(HasSubstr("certified: answers other than the last exit's ≤ 0.05 with "
                                        "probability ≥ 0.9 on images like these"),
                              HasSubstr("this is attempt 1 to certify with these images: " + path +
                                        " records it, and it was tested at level 0.09\n"),
                              HasSubstr("worst class: ")));
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("2 images of the model's tune part are not in the data\n"),
                    HasSubstr("3 images of the model's certify part are not in the data: the "
                              "certificate is based on the others\n")));
  const ProgramResult few = run({"--guarantee", "0.0005"});
  EXPECT_EQ(few.status, 0);
  EXPECT_THAT(few.out, HasSubstr("800 certify images are too few, "));
  EXPECT_THAT(few.out, HasSubstr("none of them was used, and every image goes to the last exit"));
}

TEST_F(Calibrate, NamesWhatHarmIsCountedAgainst) {
  expect_refused({"--guarantee", "0.05", "--against", "ensemble"},
                 "--against ensemble: needs --ensemble", 2);
  expect_refused({"--max-cost", "1", "--against", "ensemble"}, "--against: needs --guarantee", 2);
  const std::vector<std::string> flags = {"--guarantee", "0.1", "--ensemble", "mean"};
  const ProgramResult last = run(flags);
  EXPECT_THAT(last.out, AllOf(HasSubstr("certify images against the last exit, bound "),
                              HasSubstr(" against the last exit: ")));
  std::vector<std::string> by_name = flags;
  by_name.insert(by_name.end(), {"--against", "ensemble"});
  const ProgramResult ensemble = run(by_name);
  EXPECT_THAT(
      ensemble.out,
      AllOf(HasSubstr("certified: harm against the ensemble of all exits ≤ 0.1 with "),
            HasSubstr(" against the ensemble of all exits: "), HasSubstr("the last exit alone: ")));
  // The numbers of the JSON text add up.
  by_name.push_back("--json");
  const json result = json::parse(run(by_name).out);
  const json& tune = result["tune"];
  EXPECT_EQ(tune["against"], "ensemble");
  EXPECT_EQ(result["guarantee"]["against"], "ensemble");
  EXPECT_NEAR(tune["accuracy"].get<double>(),
              tune["accuracy_of_reference"].get<double>() + tune["help"].get<double>() -
                  tune["harm"].get<double>(),
              1e-12);
}

TEST_F(Calibrate, WarnsOfWhatFewImagesCannotShow) {
  expect_refused({"--max-accuracy-drop", "0.001"},
                 "--max-accuracy-drop: 0.001 is less than one of the 400 tune images; ask for at "
                 "least 0.0025 or train with more images",
                 2);
  EXPECT_THAT(run({"--max-cost", "0.6"}).out,
              HasSubstr("standard error of the difference to the last exit: "));
  model.weights["fc.weight"] = core::HostTensor::of({2, 3}, std::vector<float>(6));
  model::save_model(path, model);
  EXPECT_THAT(run({"--max-cost", "0.6"}).out,
              HasSubstr("warning: the last exit is less accurate on tune than exit 2: "));
  EXPECT_EQ(json::parse(run({"--max-cost", "0.6", "--json"}).out)["warnings"].size(), 2u);
}

TEST_F(Calibrate, SaysThatNothingIsCertified) {
  const data::LoadedData trap = deceptive_scenes();
  const std::string trap_data = folder.path() / "trap.pack";
  data::write_packed(trap_data, trap, test_scenes());
  model.provenance.data = parts_of(trap.dataset);
  model::save_model(path, model);
  const ProgramResult text =
      offramp({"calibrate", path, "--data", trap_data, "--threads", "1", "--guarantee", "0.05"});
  EXPECT_EQ(text.status, 0);
  EXPECT_THAT(
      text.out,
      HasSubstr("nothing is certified: even the thresholds that stop the fewest images fail "
                "the test of harm ≤ 0.05 with probability ≥ 0.95; every image goes to the "
                "last exit"));
}

TEST_F(Calibrate, SaysWhichExitsWereDropped) {
  model.weights["exits.1.fc.weight"] =
      core::HostTensor::of({2, 3}, std::vector<float>{1, 0, 0, -1, 0, 0});
  const core::Tensors state = {
      {"optimiser.step", core::HostTensor::of({1}, std::vector<std::int64_t>{7})}};
  model::save_model(path, model, state);
  const ProgramResult text =
      run({"--max-accuracy-drop", "0.01", "--drop-useless-exits", "--out", out});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(
      text.out,
      AllOf(HasSubstr("dropped: exit 1, because the head costs more than it saves; the other "
                      "exits are renumbered, and the training state is not written\n"),
            HasSubstr("\ncross-validated: accuracy ")));
}

/// Collects the keys of a JSON object and of all objects inside it.
void collect_keys(const json& value, std::set<std::string>& keys) {
  for (const auto& [key, inner] : value.items()) {
    if (value.is_object()) keys.insert(key);
    if (inner.is_structured()) collect_keys(inner, keys);
  }
}

TEST_F(Calibrate, DocumentsEveryKeyOfItsJson) {
  const std::string page = core::read_text(std::filesystem::path(OFFRAMP_CONFIGS).parent_path() /
                                           "docs" / "command-line.md");
  const std::size_t begin = page.find("## calibrate"), end = page.find("\n## ", begin);
  ASSERT_NE(begin, std::string::npos);
  const std::string section = page.substr(begin, end - begin);
  const ProgramResult ended = run({"--guarantee", "0.05", "--per-class", "--cost", "ms", "--json"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const json result = json::parse(ended.out);
  EXPECT_EQ(result["tune"]["images"], kSceneTune);
  EXPECT_EQ(result["tune"]["executed"], false);
  EXPECT_EQ(result["guarantee"]["attempt"], 1);
  EXPECT_EQ(result["aim"], "--guarantee 0.05 --delta 0.05 --cost ms");
  std::set<std::string> keys;
  collect_keys(result, keys);
  EXPECT_GT(keys.size(), 30u);
  for (const std::string& key : keys)
    EXPECT_THAT(section, HasSubstr("`" + key + "`")) << "docs/command-line.md";
}

}  // namespace
}  // namespace offramp::test
