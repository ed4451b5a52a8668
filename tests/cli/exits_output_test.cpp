#include "cli/exits_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace offramp::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

ExitsResult example() {
  ExitsResult result;
  result.model = "runs/plain";
  result.data = "data";
  result.written_to = "out/model.safetensors";
  result.aim = policy::AccuracyDrop{0.005};
  result.placement.images = 2000;
  result.placement.last_accuracy = 0.94;
  for (int k = 0; k < 2; ++k) {
    workflow::ExitCandidate candidate;
    candidate.after = k == 0 ? "layer1.0" : "layer2.0";
    candidate.kind = "spp";
    candidate.shape = {64, 32, 32};
    candidate.body_cost = 0.13 + 0.3 * k;
    candidate.head_cost = 0.001;
    candidate.accuracy = 0.5 + 0.3 * k;
    candidate.alone = {{k}, k == 1, k == 1 ? 0.75 : 1.0, 0.936};
    candidate.chosen = k == 1;
    if (k == 1) candidate.without = policy::SetValue{{}, true, 1, 0.94};
    result.placement.candidates.push_back(candidate);
  }
  result.placement.chosen = result.placement.candidates[1].alone;
  result.placement.best_of_size = {{{}, true, 1, 0.94}, result.placement.chosen};
  result.placement.exhaustive = true;
  result.placement.evaluated = 4;
  result.placement.held_out = workflow::HeldOutResult{
      2000, 5, 4, 0.935, {0.924, 0.945}, 0.94, {-0.01, 0.0}, 0.76, {0.74, 0.78}, 0.007};
  return result;
}

TEST(ExitsOutput, ShowsTheSavingOfEveryPlace) {
  const std::string text = to_text(example(), false);
  EXPECT_THAT(text, HasSubstr("layer1.0"));
  EXPECT_THAT(text, HasSubstr("64x32x32"));
  EXPECT_THAT(text, HasSubstr("not met"));
  EXPECT_THAT(text, HasSubstr("Chosen: layer2.0 (spp), at relative cost 0.750."));
  EXPECT_THAT(text, HasSubstr("4 sets of exits were evaluated (all possible ones)"));
  EXPECT_THAT(text, HasSubstr("4 of which chose the same exits"));
  EXPECT_THAT(text, HasSubstr("-0.50 points to the last exit (-1.00 to +0.00)"));
}

TEST(ExitsOutput, WritesJsonWithTheWordsOfTheText) {
  const auto json = nlohmann::json::parse(to_json_text(example()));
  EXPECT_EQ(json["aim"], "--max-accuracy-drop 0.005");
  EXPECT_EQ(json["candidates"].size(), 2u);
  EXPECT_EQ(json["candidates"][1]["chosen"], true);
  EXPECT_EQ(json["candidates"][0]["without"], nullptr);
  EXPECT_EQ(json["chosen"]["exits"][0]["after"], "layer2.0");
  EXPECT_EQ(json["held_out"]["same_choice"], 4);
  EXPECT_EQ(json["policy"], nullptr);
  EXPECT_EQ(json["ms"], nullptr);
}

TEST(ExitsOutput, SaysThatNoExitSavesMoreThanItsHeadCosts) {
  ExitsResult result = example();
  result.placement.chosen = result.placement.best_of_size[0];
  EXPECT_THAT(to_text(result, false), HasSubstr("No early exit was chosen"));
  EXPECT_THAT(to_text(result, false), HasSubstr("the network without early exits"));
}

TEST(ExitsOutput, NamesTheSmallestPossibleBudget) {
  ExitsResult result = example();
  result.aim = policy::MaxCost{0.1};
  result.placement.chosen = {{}, false, 1, 0.94};
  EXPECT_THAT(to_text(result, false), HasSubstr("no thresholds stay within the budget. The "
                                                "cheapest exit costs 0.131 for each image"));
  EXPECT_EQ(nlohmann::json::parse(to_json_text(result))["chosen"]["met"], false);
}

TEST(ExitsOutput, SaysFirstIfTheFiguresAreOfAnotherNetwork) {
  ExitsResult result = example();
  EXPECT_EQ(nlohmann::json::parse(to_json_text(result))["figures_of"], "written");
  result.joint_epochs = 7;
  EXPECT_EQ(nlohmann::json::parse(to_json_text(result))["figures_of"], "frozen");
  EXPECT_THAT(to_page(result).sentences.front(), HasSubstr("of the frozen network"));
}

TEST(ExitsOutput, NamesAgreementInsteadOfAccuracyWithoutLabels) {
  ExitsResult result = example();
  EXPECT_THAT(to_text(result, false), Not(HasSubstr("agreement")));
  result.label_free = true;
  EXPECT_THAT(to_text(result, false), HasSubstr("agreement 93.50 %"));
  EXPECT_TRUE(to_page(result).label_free);
}

}  // namespace
}  // namespace offramp::cli
