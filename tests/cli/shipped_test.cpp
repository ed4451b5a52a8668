#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "core/clones.h"
#include "core/file.h"
#include "data/dataset.h"
#include "data/synthetic.h"
#include "engine/certificate_check.h"
#include "engine/opened_model.h"
#include "eval/logits_file.h"
#include "graph/graph.h"
#include "model/model_file.h"
#include "policy/binomial.h"
#include "recipe/recipe.h"
#include "runtime/precision.h"
#include "tests/cli/program.h"
#include "tests/support/instruction_set_cap.h"
#include "tests/support/models.h"
#include "workflow/open_model.h"

namespace offramp::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

const fs::path kSource = OFFRAMP_SOURCE;
const std::string kFashionMnist = "/usr/share/datasets/fashion-mnist";  // where Debian puts it

/// A model file of models/ and its model card.
class Shipped : public testing::TestWithParam<fs::path> {
 protected:
  fs::path path = GetParam();
  model::ModelFile model = model::load_model(path);
  std::string card = core::read_text(fs::path(path).replace_extension(".md"));
};

std::vector<fs::path> shipped() {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(kSource / "models"))
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

TEST_P(Shipped, IsAsSmallAsItsCardSays) {
  const auto bytes = static_cast<double>(fs::file_size(path));
  EXPECT_LE(bytes, path.stem().string().ends_with("-small") ? 2e6 : 16e6);
  const std::string size = fmt::format("{:.1f} MB", bytes / 1e6);
  EXPECT_THAT(card, HasSubstr(size));
  const std::string list = core::read_text(kSource / "models/README.md");
  EXPECT_THAT(list, HasSubstr(path.filename().string()));
  EXPECT_THAT(list, HasSubstr(size));
}

TEST_P(Shipped, CarriesTheCertificateThatItsCardStates) {
  ASSERT_TRUE(model.policy && model.policy->guarantee && model.policy->seen);
  const policy::Guarantee& given = *model.policy->guarantee;
  EXPECT_EQ(given.precision, "int8");
  EXPECT_LE(given.upper_bound, given.epsilon);
  EXPECT_NEAR(given.upper_bound,
              policy::clopper_pearson_upper(given.counted, given.images, given.level), 1e-9);
  EXPECT_THAT(card, HasSubstr(fmt::format("harm ≤ {:g} % with probability ≥ {:g} %",
                                          100 * given.epsilon, 100 * (1 - given.delta))));
  EXPECT_THAT(card, HasSubstr(fmt::format("{} of {},{:03} certify images, bound {:.2f} %",
                                          given.counted, given.images / 1000, given.images % 1000,
                                          100 * given.upper_bound)));
  EXPECT_GE(given.images, 4000);
  EXPECT_EQ(model.provenance.data.certify.size(), static_cast<std::size_t>(given.images));
  EXPECT_THAT(card, HasSubstr(given.kernels));
  for (std::size_t k = 0; k < model.policy->policy.thresholds.size(); ++k)
    EXPECT_THAT(card, HasSubstr(fmt::format("≥ {:.3f} at exit {}",
                                            model.policy->policy.thresholds[k].value(), k + 1)));
}

// The code that computes logits may change only together with the number of its arithmetic, and the
// shipped certificates must be converted to it.
TEST_P(Shipped, HasItsCertificateInForceHere) {
  if (!core::clones_use_fma()) GTEST_SKIP() << "no fused multiply-adds, as under sanitizers";
  if (!runtime::has_instructions_for(runtime::Precision::int8))
    GTEST_SKIP() << "no instructions for int8";
  const auto opened = workflow::open_model(path, {}, {});
  EXPECT_EQ(opened->certificate().status(), (engine::CertificateStatus{InForce::yes, ""}));
}

TEST_P(Shipped, WasTrainedByTheRecipeOfItsCard) {
  std::smatch name;
  ASSERT_TRUE(std::regex_search(card, name, std::regex(R"(\(\.\./(configs/[^)]+\.toml)\))")));
  recipe::Recipe recipe = recipe::read_recipe(kSource / name[1].str());
  const json details = json::parse(model.provenance.details_json);
  recipe::Recipe trained = recipe::parse_recipe(details["recipe"], path.string());
  // No path of a machine.
  EXPECT_THAT(trained.data.source, testing::AnyOf("data", kFashionMnist));
  // These keys may differ: they change the weights by rounding at most.
  for (recipe::Recipe* one : {&recipe, &trained}) {
    one->train.threads = 0;
    one->train.checkpoint_every = 0;
  }
  EXPECT_EQ(recipe::to_toml(trained), recipe::to_toml(recipe));
}

TEST_P(Shipped, ClassifiesAnImage) {
  const data::Dataset drawn = data::synthetic_data(32, 32, 10, data::Part::test, 1);
  const core::TemporaryFolder folder;
  const std::string image = write_png(folder.path() / "image.png", drawn, 0);
  const ProgramResult ended = offramp({"classify", path.string(), image, "--json"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const json answer = json::parse(ended.out);
  EXPECT_THAT(model.classes, testing::Contains(answer["class"].get<std::string>()));
  EXPECT_EQ(answer["guarantee"]["epsilon"], model.policy->guarantee->epsilon);
  EXPECT_NE(answer["guarantee"]["in_force"], true) << "one image shows nothing about drift";
  EXPECT_FALSE(answer["guarantee"]["why"].is_null());
  if (!runtime::has_instructions_for(runtime::Precision::int8)) {
    EXPECT_EQ(answer["guarantee"]["why"],
              "this CPU has no instructions for int8: the model runs in f32, for which nothing was "
              "certified");
  }
  EXPECT_GE(answer["exit"], 1);
  EXPECT_LE(answer["exit"], graph::exit_segments(model.graph).size());
}

// A certificate that names the arithmetic assumes this for all images; bench/models/int8_caps.py
// checks it on CIFAR-10.
TEST_P(Shipped, ComputesTheSameInt8LogitsUnderEveryInstructionSet) {
  if (!runtime::has_instructions_for(runtime::Precision::int8))
    GTEST_SKIP() << "no instructions for int8";
  const std::string& images = kFashionMnist;
  if (!fs::exists(images)) GTEST_SKIP() << images << " is not there";
  const core::TemporaryFolder folder;
  const std::string renamed = folder.path() / "model.safetensors";
  model.classes = data::load_data(images, data::Part::test, {}).dataset.classes;
  model.policy.reset();
  model::save_model(renamed, model);
  std::map<std::string, std::vector<float>> logits_with;  // by the name of the kernels
  for (const std::string cap :
       {"AVX2_VNNI", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_AMX"}) {
    const RunOptions capped{.environment = {"ONEDNN_MAX_CPU_ISA=" + cap}};
    const std::string version = offramp({"--version"}, capped).out;
    if (!names_instruction_set(version.substr(0, version.find('\n')), cap)) continue;
    const std::string out = folder.path() / (cap + ".safetensors");
    const ProgramResult ended = offramp(
        {"test", renamed, "--data", images, "--precision", "int8", "--save-logits", out}, capped);
    ASSERT_EQ(ended.status, 0) << ended.err;
    eval::SavedLogits saved = eval::load_logits(out);
    ASSERT_EQ(saved.metadata["precision"], "int8");
    ASSERT_EQ(saved.labels.size(), 10'000u);
    logits_with[saved.metadata["kernels"]] = std::move(saved.logits);
  }
  if (logits_with.size() < 2) GTEST_SKIP() << "this CPU has one of the instruction sets only";
  const auto& [first, expected] = *logits_with.begin();
  for (const auto& [kernels, logits] : logits_with) {
    ASSERT_EQ(logits.size(), expected.size());
    EXPECT_EQ(std::memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)), 0)
        << kernels << " and " << first << " compute different logits";
  }
}

// int8 logits are the same on every CPU that has the instructions and fused multiply-adds, so the
// figures are equal to the digit.
TEST(ShippedFashionMnist, HasTheFiguresOfItsCard) {
  if (!core::clones_use_fma()) GTEST_SKIP() << "no fused multiply-adds, as under sanitizers";
  if (!runtime::has_instructions_for(runtime::Precision::int8))
    GTEST_SKIP() << "no instructions for int8";
  if (!fs::exists(kFashionMnist)) GTEST_SKIP() << kFashionMnist << " is not there";
  const fs::path path = kSource / "models/fashion-mnist-3-exits.safetensors";
  const std::string card = core::read_text(fs::path(path).replace_extension(".md"));
  const ProgramResult ended = offramp({"test", path.string(), "--data", kFashionMnist, "--json"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const json result = json::parse(ended.out);
  EXPECT_EQ(result["precision"], "int8");
  const auto row = [](const std::string& name, const json& of) {
    return fmt::format(
        "| {} | {:.2f} ({:.2f} … {:.2f}) | {:.3f} |", name, 100 * of["accuracy"].get<double>(),
        100 * of["accuracy_interval"][0].get<double>(),
        100 * of["accuracy_interval"][1].get<double>(), of["relative_cost"].get<double>());
  };
  EXPECT_THAT(card, HasSubstr(row("exit 1, after layer1.0", result["exits"][0])));
  EXPECT_THAT(card, HasSubstr(row("exit 2, after layer2.1", result["exits"][1])));
  EXPECT_THAT(card, HasSubstr(row("exit 3, the last", result["exits"][2])));
  EXPECT_THAT(card, HasSubstr(row("its policy, executed", result["policy"])));
  EXPECT_EQ(result["policy"]["guarantee"]["in_force"], true);
}

INSTANTIATE_TEST_SUITE_P(Models, Shipped, testing::ValuesIn(shipped()), [](const auto& given) {
  std::string name = given.param.stem().string();
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace offramp::test
