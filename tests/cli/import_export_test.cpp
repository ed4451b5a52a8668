#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "model/model_file.h"
#include "runtime/precision.h"
#include "tests/cli/program.h"
#include "tests/support/models.h"

namespace offramp::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

/// A model file with random weights, 3 exits and a policy.
class ImportExport : public testing::Test {
 protected:
  ImportExport() {
    model::ModelFile model = small_model();
    policy::ChosenPolicy chosen;
    chosen.policy = policy::never_stop(3);
    chosen.policy.thresholds = {0.9f, 0.8f};
    model.policy = chosen;
    model::save_model(model_path, model);
  }
  ProgramResult export_as(const std::string& form) {
    return offramp({"export", model_path, "-o", onnx_path, "--form", form});
  }

  core::TemporaryFolder folder;
  fs::path model_path = folder.path() / "model.safetensors", onnx_path = folder.path() / "net.onnx",
           again_path = folder.path() / "again.safetensors";
};

TEST_F(ImportExport, APlainFileIsImportedAgain) {
  const ProgramResult exported = export_as("plain");
  ASSERT_EQ(exported.status, 0) << exported.err;
  EXPECT_THAT(exported.out, HasSubstr("plain, f32, 1 exit"));
  const ProgramResult imported = offramp({"import", onnx_path, "-o", again_path, "--json"});
  ASSERT_EQ(imported.status, 0) << imported.err;
  const json result = json::parse(imported.out);
  EXPECT_EQ(result["classes"], 10);
  EXPECT_EQ(result["input"], json({3, 32, 32}));
  EXPECT_EQ(result["opset"], 17);
  EXPECT_EQ(result["producer"].get<std::string>().rfind("offramp", 0), 0u);
  const model::ModelFile before = model::load_model(model_path);
  const model::ModelFile after = model::load_model(again_path);
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(after.preprocessing.mean[c], before.preprocessing.mean[c], 1e-6);
    EXPECT_NEAR(after.preprocessing.std[c], before.preprocessing.std[c], 1e-6);
  }
  EXPECT_EQ(json::parse(after.provenance.details_json)["imported_from"], "ONNX");
  const ProgramResult info = offramp({"info", again_path, "--json"});
  ASSERT_EQ(info.status, 0) << info.err;
  EXPECT_EQ(json::parse(info.out)["macs"], result["macs"]);
}

TEST_F(ImportExport, EveryFormIsWritten) {
  for (const char* form : {"conditional", "all-exits", "plain"})
    EXPECT_EQ(export_as(form).status, 0) << form;
  const ProgramResult unknown = export_as("nested");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err, HasSubstr("unknown form \"nested\""));
}

TEST_F(ImportExport, AnInt8ModelIsWrittenInInt8UnlessF32IsAskedFor) {
  const fs::path int8 =
      fs::path(OFFRAMP_CONFIGS).parent_path() / "models/cifar10-2-exits-small.safetensors";
  const auto precision = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"export", int8, "-o", onnx_path, "--json"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const ProgramResult ended = offramp(arguments);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return json::parse(ended.out)["precision"].get<std::string>();
  };
  EXPECT_EQ(precision({}), "int8");
  EXPECT_EQ(precision({"--precision", "int8", "--form", "plain"}), "int8");
  EXPECT_EQ(precision({"--precision", "f32"}), "f32");
  for (const char* wrong : {"int8", "bf16", "f64"}) {
    const ProgramResult ended =
        offramp({"export", model_path, "-o", onnx_path, "--precision", wrong});
    EXPECT_EQ(ended.status, 2) << wrong;
    EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  }
}

TEST_F(ImportExport, AnInt8ModelKeepsItsRangesAndWeightsOnTheWayThroughOnnx) {
  const fs::path int8 =
      fs::path(OFFRAMP_CONFIGS).parent_path() / "models/cifar10-2-exits-small.safetensors";
  ASSERT_EQ(offramp({"export", int8, "-o", onnx_path, "--form", "plain"}).status, 0);
  const ProgramResult imported = offramp({"import", onnx_path, "-o", again_path, "--json"});
  ASSERT_EQ(imported.status, 0) << imported.err;
  EXPECT_EQ(json::parse(imported.out)["precision"], "int8") << imported.out;
  const model::ModelFile before = model::load_model(int8), after = model::load_model(again_path);
  ASSERT_TRUE(after.deployment);
  EXPECT_EQ(after.deployment->measured.images, 0);
  int same = 0;
  for (const auto& [name, range] : after.deployment->ranges) {
    const auto found = before.deployment->ranges.find(name);
    if (found == before.deployment->ranges.end()) continue;
    EXPECT_FLOAT_EQ(range.magnitude, found->second.magnitude) << name;
    EXPECT_EQ(range.is_signed, found->second.is_signed) << name;
    ++same;
  }
  EXPECT_GE(same, 8) << "the image, and what follows each of the convolutions of 4 blocks";
  EXPECT_EQ(after.weight_scales.count("layer1.0.conv1.weight"), 1u);
  const ProgramResult info = offramp({"info", again_path, "--compiled", "--precision", "int8"});
  EXPECT_EQ(info.status, 0) << info.err;
}

TEST_F(ImportExport, TheLossOfAnInt8ModelIsMeasuredOnTheDataThatAreGiven) {
  if (!runtime::has_instructions_for(runtime::Precision::int8))
    GTEST_SKIP() << "no 8-bit instructions here";
  const fs::path int8 =
      fs::path(OFFRAMP_CONFIGS).parent_path() / "models/cifar10-2-exits-small.safetensors";
  ASSERT_EQ(offramp({"export", int8, "-o", onnx_path, "--form", "plain"}).status, 0);
  const ProgramResult data = offramp({"data", "info", "synthetic", "--json"});
  const fs::path labels = folder.path() / "labels.txt";
  {
    const json described = json::parse(data.out);
    std::ofstream names(labels);
    for (const json& one : described["classes"]) names << one["class"].get<std::string>() << "\n";
  }
  const ProgramResult imported = offramp(
      {"import", onnx_path, "-o", again_path, "--labels", labels, "--data", "synthetic", "--json"});
  ASSERT_EQ(imported.status, 0) << imported.err;
  const json result = json::parse(imported.out);
  EXPECT_THAT(result["notes"].dump(), HasSubstr("tune images its accuracy is"));
  const model::MeasuredLoss loss = model::load_model(again_path).deployment->measured;
  EXPECT_EQ(loss.images, result["images"]["tune"]);
  EXPECT_GT(loss.agreement, 0.9);
}

TEST_F(ImportExport, LabelsNameTheClasses) {
  ASSERT_EQ(export_as("plain").status, 0);
  const fs::path labels = folder.path() / "labels.txt";
  std::ofstream(labels) << "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";
  ASSERT_EQ(offramp({"import", onnx_path, "-o", again_path, "--labels", labels}).status, 0);
  EXPECT_EQ(model::load_model(again_path).classes[9], "j");
  std::ofstream(labels) << "a\nb\n";
  const ProgramResult few = offramp({"import", onnx_path, "-o", again_path, "--labels", labels});
  EXPECT_EQ(few.status, 1);
  EXPECT_THAT(few.err, HasSubstr("names 2 classes, but the network has 10"));
}

TEST_F(ImportExport, FlagsAreCheckedInOneLine) {
  ASSERT_EQ(export_as("plain").status, 0);
  const std::vector<std::vector<std::string>> wrong = {
      {"--mean", "0.5"}, {"--std", "1,2,x"}, {"--image-size", "large"}, {"--fit", "stretch"}};
  for (const auto& flags : wrong) {
    std::vector<std::string> arguments = {"import", onnx_path, "-o", again_path};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const ProgramResult ended = offramp(arguments);
    EXPECT_EQ(ended.status, 2) << flags[0];
    EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  }
  const ProgramResult same = offramp({"import", onnx_path, "-o", onnx_path});
  EXPECT_EQ(same.status, 2);
  EXPECT_THAT(same.err, HasSubstr("is an input"));
}

TEST_F(ImportExport, AFileWithoutANetworkIsRefused) {
  const ProgramResult ended = offramp({"import", model_path, "-o", again_path});
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("not an ONNX file"));
}

}  // namespace
}  // namespace offramp::test
