#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "data/dataset.h"
#include "model/model_file.h"
#include "runtime/kernels_name.h"
#include "runtime/precision.h"
#include "tests/cli/program.h"
#include "tests/support/models.h"

namespace offramp::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

/// A model file with random weights whose provenance lists synthetic images.
class Quantize : public testing::Test {
 protected:
  Quantize() {
    const data::LoadedData train = data::load_data("synthetic", data::Part::train, {});
    model = small_model(train.dataset.classes);
    const auto& hashes = train.dataset.hashes;
    model.provenance.data.train.assign(hashes.begin(), hashes.begin() + 100);
    model.provenance.data.tune.assign(hashes.begin() + 100, hashes.begin() + 260);
    std::ranges::sort(model.provenance.data.train);
    std::ranges::sort(model.provenance.data.tune);
    policy::ChosenPolicy chosen;
    chosen.policy = policy::never_stop(3);
    chosen.policy.criterion = policy::Criterion::margin;
    chosen.aim = policy::MaxCost{0.5};
    model.policy = chosen;
    model::save_model(path, model);
  }

  ProgramResult quantize(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"quantize",  path, "--data",   "synthetic",
                                          "--threads", "1",  "--images", "40"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return offramp(arguments);
  }
  static bool lacks_instructions(const ProgramResult& ended) {
    return ended.err.find("this CPU has no instructions") != ended.err.npos;
  }

  core::TemporaryFolder folder;
  fs::path path = folder.path() / "model.safetensors",
           out = folder.path() / "model.int8.safetensors";
  model::ModelFile model;
};

TEST_F(Quantize, WritesAFileThatRunsInItsOwnPrecision) {
  const ProgramResult ended = quantize({"--json"});
  if (lacks_instructions(ended)) GTEST_SKIP() << ended.err;
  ASSERT_EQ(ended.status, 0) << ended.err;
  const json said = json::parse(ended.out);
  EXPECT_EQ(said["precision"], "int8");
  EXPECT_EQ(said["observed_images"], 40);
  EXPECT_EQ(said["tune"]["images"], 160);
  ASSERT_EQ(said["tune"]["exits"].size(), 3u);
  for (const json& exit : said["tune"]["exits"]) {
    EXPECT_GE(exit["agreement"], 0.8);
    EXPECT_NEAR(exit["difference"].get<double>(),
                exit["accuracy"].get<double>() - exit["reference_accuracy"].get<double>(), 1e-12);
    EXPECT_LE(exit["difference_interval"][0], exit["difference"]);
  }
  EXPECT_EQ(said["policy"]["criterion"], "margin");  // the criterion of the model's own policy
  EXPECT_EQ(said["policy"]["aim"], "--max-cost 0.5");

  const model::ModelFile deployed = model::load_model(out);
  EXPECT_EQ(deployed.deployment->precision, "int8");
  EXPECT_EQ(deployed.deployment->measured.images, 160);
  EXPECT_EQ(deployed.policy->aim, policy::Aim(policy::MaxCost{0.5}));
  EXPECT_EQ(said["within_bounds"], model::is_within_bounds(*deployed.deployment));
  const ProgramResult tested = offramp(
      {"test", out, "--data", "synthetic", "--threads", "1", "--precision", "int8", "--json"});
  ASSERT_EQ(tested.status, 0) << tested.err;
  EXPECT_EQ(json::parse(tested.out)["precision"], "int8");
  const ProgramResult compiled = offramp({"info", out, "--compiled", "--precision", "int8"});
  ASSERT_EQ(compiled.status, 0) << compiled.err;
  EXPECT_THAT(compiled.out, HasSubstr("u8 [4,32,32]"));
}

TEST_F(Quantize, RunsInF32IfTheFileDiffersFromWhatWasMeasured) {
  const ProgramResult ended = quantize();
  if (lacks_instructions(ended)) GTEST_SKIP() << ended.err;
  ASSERT_EQ(ended.status, 0) << ended.err;
  const model::ModelFile made = model::load_model(out);
  const auto runs_in = [&](model::ModelFile changed, std::vector<std::string> more) {
    model::save_model(out, changed);
    std::vector<std::string> arguments = {"test",      out, "--data", "synthetic",
                                          "--threads", "1", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramResult tested = offramp(arguments);
    EXPECT_EQ(tested.status, 0) << tested.err;
    return std::pair(json::parse(tested.out)["precision"].get<std::string>(), tested.err);
  };
  model::ModelFile good = made;
  good.deployment->measured.agreement = 1;
  good.deployment->measured.accuracy = good.deployment->measured.reference_accuracy;
  EXPECT_EQ(runs_in(good, {}).first, "int8");

  model::ModelFile lossy = good;
  lossy.deployment->measured.agreement = 0.98;
  const auto [precision, said] = runs_in(lossy, {});
  EXPECT_EQ(precision, "f32");
  EXPECT_THAT(said, HasSubstr("int8 exceeded its bounds on the tune images: the model runs in "
                              "f32\n"));
  EXPECT_EQ(runs_in(lossy, {"--precision", "int8"}).first, "int8");
}

TEST_F(Quantize, RefusesInOneLine) {
  const auto refused = [&](std::vector<std::string> more, int status, const std::string& part) {
    const ProgramResult ended = quantize(std::move(more));
    EXPECT_EQ(ended.status, status);
    EXPECT_THAT(ended.err, HasSubstr(part));
    EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  };
  refused({"--precision", "f32"}, 2, "--precision: a deployment file holds bf16 or int8");
  refused({"--precision", "int7"}, 2, "unknown precision \"int7\"; did you mean \"int8\"?");
  if (lacks_instructions(quantize())) GTEST_SKIP();
  refused(
      {"--out", path.string()}, 2,
      "--out: " + path.string() + " is an input, so it cannot be the output; choose another file");
  refused({"--out", (folder.path() / "none" / "x").string()}, 1, "cannot write");
}

TEST_F(Quantize, NamesTheModelWhereItsFolderIsMissing) {
  const std::string missing = folder.path() / "none" / "model.safetensors";
  const ProgramResult ended = offramp({"quantize", missing, "--data", "synthetic"});
  if (lacks_instructions(ended)) GTEST_SKIP() << ended.err;
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, testing::StartsWith("offramp: " + missing + ": "));
}

TEST_F(Quantize, SaysWhatItWroteForPeople) {
  const ProgramResult ended = quantize();
  if (lacks_instructions(ended)) GTEST_SKIP() << ended.err;
  ASSERT_EQ(ended.status, 0) << ended.err;
  for (const char* part : {"in int8, on 160 tune images", "same answers",
                           "ranges of activations observed on 40 training images", "written to ",
                           "Chosen on 160 tune images by --max-cost 0.5"})
    EXPECT_THAT(ended.out, HasSubstr(part));
}

TEST_F(Quantize, IsRequiredForInt8) {
  const ProgramResult ended =
      offramp({"test", path, "--data", "synthetic", "--precision", "int8", "--threads", "1"});
  if (lacks_instructions(ended)) GTEST_SKIP() << ended.err;
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, HasSubstr("int8 needs the ranges of activations"));
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
}

}  // namespace
}  // namespace offramp::test
