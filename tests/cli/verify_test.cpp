#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "data/dataset.h"
#include "eval/logits_file.h"
#include "graph/random_weights.h"
#include "model/model_file.h"
#include "policy/policy.h"
#include "tests/cli/program.h"
#include "tests/support/graphs.h"

namespace offramp::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr int kImages = 400;
// The certified code: the same program with fewer instructions than any CPU of today has.
const RunOptions kThere{.environment = {"ONEDNN_MAX_CPU_ISA=SSE41"}};

/// A model whose certificate is for f32 with oneDNN's kernels for SSE4.1, and its logits from
/// there.
class VerifyCommand : public testing::Test {
 protected:
  VerifyCommand() {
    const data::LoadOptions few = {.synthetic_train = 100, .synthetic_test = kImages};
    const data::LoadedData test_part = data::load_data("synthetic", data::Part::test, few);
    data::write_packed(data, data::load_data("synthetic", data::Part::train, few), test_part);
    model.graph = small_resnet();
    model.weights = graph::random_weights(model.graph, 1);
    model.classes = test_part.dataset.classes;
    model.loss_weights = {0.2, 0.3, 0.5};
    model.policy = policy::ChosenPolicy{policy::never_stop(3)};
    model.policy->policy.thresholds = {0.12f, std::nullopt};
    model::save_model(path, model);
    const ProgramResult there = test_there();
    EXPECT_EQ(there.status, 0) << there.err;
    const json result = json::parse(there.out);
    model.policy->aim = policy::HarmGuarantee{0.01};
    model.policy->guarantee =
        policy::Guarantee{"harm", 0.01,  0.05,
                          0.045,  4000,  20,
                          0.009,  "f32", eval::load_logits(logits).metadata.at("kernels")};
    model.policy->seen =
        policy::TuneExitShares{kImages, result["policy"]["shares"].get<std::vector<double>>()};
    model::save_model(path, model);
  }

  ProgramResult test_there() const {
    return offramp({"test", path, "--data", data, "--threads", "1", "--precision", "f32", "--json",
                    "--save-logits", logits},
                   kThere);
  }
  ProgramResult verify(std::vector<std::string> more = {}, const RunOptions& how = {}) const {
    std::vector<std::string> arguments = {"verify",    path, "--data",      data,
                                          "--threads", "1",  "--precision", "f32"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return offramp(arguments, how);
  }

  core::TemporaryFolder folder;
  std::string path = folder.path() / "model.safetensors", data = folder.path() / "images.pack",
              logits = folder.path() / "there.safetensors";
  model::ModelFile model;
};

TEST_F(VerifyCommand, SaysWithoutLogitsHowToBoundTheDifference) {
  const ProgramResult ended = verify();
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr(fmt::format("{}: certified harm ≤ 0.01 with probability ≥ 0.95 "
                                               "in f32 with {}\n",
                                               path, model.policy->guarantee->kernels)));
  EXPECT_THAT(ended.out, HasSubstr("the certificate is not in force: its logits were computed "
                                   "with "));
  EXPECT_THAT(ended.out,
              HasSubstr(fmt::format("to bound the difference, save the logits of the same images "
                                    "where it is in force (\"offramp test MODEL --data {} "
                                    "--save-logits FILE\") and give them with --logits FILE\n",
                                    data)));
  const json result = json::parse(verify({"--json"}).out);
  EXPECT_TRUE(result["verified"].is_null());
  EXPECT_EQ(result["guarantee"]["in_force"], false);
}

TEST_F(VerifyCommand, SaysThatTheCertifiedCodeNeedsNothingMore) {
  const ProgramResult ended = verify({}, kThere);
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("the certificate is in force\n"));
  EXPECT_THAT(ended.out, Not(HasSubstr("--logits")));
}

TEST_F(VerifyCommand, PutsTheCertificateInForceWithItsLogits) {
  const ProgramResult ended = verify({"--logits", logits, "--json"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const json result = json::parse(ended.out);
  EXPECT_EQ(result["images"], kImages);
  EXPECT_EQ(result["verified"]["images"], kImages);
  const double rho = result["verified"]["rho"];
  EXPECT_GT(rho, 0);
  EXPECT_EQ(result["guarantee"]["in_force"], true);
  EXPECT_DOUBLE_EQ(result["guarantee"]["epsilon"], 0.01 + rho);
  EXPECT_DOUBLE_EQ(result["guarantee"]["delta"], 0.05 + 0.01);
  // The model's file has the result, for every command.
  const ProgramResult tested =
      offramp({"test", path, "--data", data, "--threads", "1", "--precision", "f32", "--json"});
  EXPECT_EQ(json::parse(tested.out)["policy"]["guarantee"]["epsilon"],
            result["guarantee"]["epsilon"]);
  EXPECT_EQ(json::parse(tested.out)["policy"]["guarantee"]["in_force"], true);
  const ProgramResult text = verify({"--logits", logits, "--alpha", "0.05"});
  EXPECT_THAT(text.out, HasSubstr("with probability ≥ 1 − (0.05 + 0.05) = 0.9; written to the "
                                  "model\nthe certificate is in force\n"));
}

TEST_F(VerifyCommand, RefusesInOneLine) {
  const auto refused = [&](const std::vector<std::string>& more, int status,
                           const std::string& part) {
    const ProgramResult ended = verify(more);
    EXPECT_EQ(ended.status, status);
    EXPECT_THAT(ended.err, HasSubstr(part));
    // Before it comes the remark, without "offramp: ", that the certificate is not in force.
    const std::size_t error = ended.err.rfind("offramp: ");
    ASSERT_NE(error, std::string::npos) << ended.err;
    EXPECT_TRUE(is_one_line(ended.err.substr(error))) << ended.err;
    EXPECT_EQ(ended.out, "");
  };
  refused({"--alpha", "1"}, 2, "--alpha: expected a probability between 0 and 1, got 1");
  refused({"--logits", path}, 1, "tensor \"logits\" is missing");
  eval::SavedLogits saved = eval::load_logits(logits);
  ++saved.hashes[3];
  eval::save_logits(logits, saved);
  refused({"--logits", logits}, 1, "has no logits of 1 of the 400 images of " + data);
  model.policy->guarantee.reset();
  model::save_model(path, model);
  refused({}, 1, "has no certificate; \"offramp calibrate --guarantee\" makes one");
}

}  // namespace
}  // namespace offramp::test
