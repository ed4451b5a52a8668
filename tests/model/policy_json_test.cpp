#include "model/policy_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"
#include "core/random.h"
#include "model/json_reader.h"
#include "policy/binomial.h"

namespace offramp::model {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// Returns a policy of three exits in which every field has a value.
policy::ChosenPolicy certified_policy() {
  policy::ChosenPolicy chosen;
  chosen.policy.criterion = policy::Criterion::margin;
  chosen.policy.thresholds = {0.9f, std::nullopt};
  chosen.policy.temperatures = {1.1f, 1, 0.875f};
  chosen.policy.ensemble = policy::Ensemble::weighted;
  chosen.policy.ensemble_weights = {0.2f, 0.3f, 0.5f};
  chosen.aim = policy::HarmGuarantee{0.01, 0.05};
  chosen.guarantee =
      policy::Guarantee{"harm", 0.01, 0.05, 0.045, 4000, 29, 0.0097, "f32", "libtorch cpu"};
  chosen.path = policy::CertifiedPath{{{{std::nullopt, std::nullopt}, 0, 0.9, 1},
                                       {{0.9f, std::nullopt}, 29, 0.875, 0.75},
                                       {{0.9f, 0.8f}, 45, 0.75, 0.5}},
                                      1};
  return chosen;
}

/// Changes the JSON text of that policy and reads it for three exits.
policy::ChosenPolicy read_after(const std::function<void(Json&)>& edit) {
  Json json = parse_json(policy_to_json(certified_policy()));
  edit(json);
  return policy_from_json(json.dump(), 3);
}

void expect_refused(const std::function<void(Json&)>& edit, const std::string& message) {
  EXPECT_THAT([&] { read_after(edit); }, ThrowsMessage<Error>(message));
}

void expect_field_refused(const std::string& key, const Json& value, const std::string& message) {
  SCOPED_TRACE(key);
  expect_refused([&](Json& json) { json[key] = value; }, message);
}

void expect_guarantee_refused(const std::string& key, const Json& value,
                              const std::string& message) {
  SCOPED_TRACE(key);
  expect_refused([&](Json& json) { json["guarantee"][key] = value; }, message);
}

TEST(PolicyJson, HasTheKeysThatAreDocumented) {
  EXPECT_EQ(
      policy_to_json(certified_policy()),
      R"({"criterion":"margin","thresholds":[0.9,null],"temperatures":[1.1,1.0,0.875],)"
      R"("ensemble":"weighted","ensemble_weights":[0.2,0.3,0.5],)"
      R"("aim":{"kind":"guarantee","epsilon":0.01,"delta":0.05,"label_free":false,)"
      R"("against":"last_exit","cost_unit":"macs"},"guarantee":{"of":"harm","epsilon":0.01,)"
      R"("delta":0.05,"level":0.045,"images":4000,"counted":29,"upper_bound":0.0097,)"
      R"("precision":"f32","kernels":"libtorch cpu","against":"last_exit"},"path":{"chosen":1,"steps":[)"
      R"({"thresholds":[null,null],"counted":0,"accuracy":0.9,"relative_cost":1.0},)"
      R"({"thresholds":[0.9,null],"counted":29,"accuracy":0.875,"relative_cost":0.75},)"
      R"({"thresholds":[0.9,0.8],"counted":45,"accuracy":0.75,"relative_cost":0.5}]}})");
}

TEST(PolicyJson, GivesBackWhatWasWritten) {
  const policy::ChosenPolicy chosen = certified_policy();
  EXPECT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen);
  policy::ChosenPolicy plain;
  plain.policy = policy::never_stop(1);
  EXPECT_EQ(policy_from_json(policy_to_json(plain), 1), plain);
}

TEST(PolicyJson, SaysWhereImagesLeftIfThatIsKnown) {
  policy::ChosenPolicy chosen = certified_policy();
  chosen.seen = policy::TuneExitShares{2000, {0.1, 0.25, 0.65}};
  EXPECT_THAT(policy_to_json(chosen),
              HasSubstr(R"(,"seen":{"images":2000,"shares":[0.1,0.25,0.65]})"));
  EXPECT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen);
}

TEST(PolicyJson, RefusesInvalidShares) {
  const auto with = [](const Json& images, const Json& shares) {
    return [=](Json& json) { json["seen"] = {{"images", images}, {"shares", shares}}; };
  };
  EXPECT_EQ(read_after(with(7, {0, 0.5, 0.5})).seen->images, 7);
  expect_refused(with(7, {0.5, 0.5}), "seen.shares: got 2, expected 3: one for each exit");
  expect_refused(with(7, {0.5, 0.5, 0.5}), "seen.shares: the sum is 1.5, expected 1");
  EXPECT_THROW(read_after(with(0, {0, 0.5, 0.5})), Error);
  EXPECT_THROW(read_after(with(7, {-0.5, 0.5, 1})), Error);
  EXPECT_THROW(read_after([](Json& json) { json["seen"] = nullptr; }), Error);
}

TEST(PolicyJson, KeepsEveryFloatToTheBit) {
  for (std::uint64_t round = 0; round < 2000; ++round) {
    core::KeyedRandom random(11, round);
    // Draws any positive float up to 10^6, including subnormal ones.
    const auto any = [&] {
      return std::bit_cast<float>(
          static_cast<std::uint32_t>(1 + random.below(std::bit_cast<std::uint32_t>(1e6f))));
    };
    policy::ChosenPolicy chosen = certified_policy();
    chosen.path.reset();
    for (auto& threshold : chosen.policy.thresholds) threshold = random.below(2) ? any() : -any();
    for (float& temperature : chosen.policy.temperatures) temperature = any();
    for (float& weight : chosen.policy.ensemble_weights) weight = any();
    ASSERT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen) << policy_to_json(chosen);
  }
}

TEST(PolicyJson, KeepsEveryDoubleOfAGuaranteeToTheBit) {
  for (std::uint64_t round = 0; round < 500; ++round) {
    core::KeyedRandom random(12, round);
    const auto share = [&] {
      return static_cast<double>(random.below(1ull << 53)) * 0x1p-53;  // in [0, 1)
    };
    policy::ChosenPolicy chosen = certified_policy();
    policy::Guarantee& guarantee = *chosen.guarantee;
    guarantee.epsilon = share();
    guarantee.delta = share();
    guarantee.level = guarantee.delta * share();
    guarantee.upper_bound = guarantee.epsilon * share();
    ASSERT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen) << policy_to_json(chosen);
  }
}

TEST(PolicyJson, RefusesEveryFieldThatIsMissing) {
  const Json whole = parse_json(policy_to_json(certified_policy()));
  for (const auto& [key, value] : whole.items())
    if (key != "path")
      expect_refused([&, name = key](Json& json) { json.erase(name); }, key + " is missing");
  // Files from before the key "against" was there are read too.
  for (const auto& [key, value] : whole["aim"].items())
    if (key != "against")
      expect_refused([&, name = key](Json& json) { json["aim"].erase(name); },
                     "aim." + key + " is missing");
  for (const auto& [key, value] : whole["path"].items())
    expect_refused([&, name = key](Json& json) { json["path"].erase(name); },
                   "path." + key + " is missing");
  for (const auto& [key, value] : whole["path"]["steps"][0].items())
    expect_refused([&, name = key](Json& json) { json["path"]["steps"][2].erase(name); },
                   "path.steps[2]." + key + " is missing");
  for (const auto& [key, value] : whole["guarantee"].items())
    if (key != "against")
      expect_refused([&, name = key](Json& json) { json["guarantee"].erase(name); },
                     "guarantee." + key + " is missing");
}

TEST(PolicyJson, RefusesUnknownFields) {
  expect_field_refused("treshold", 1, R"(unknown key "treshold"; did you mean "thresholds"?)");
  expect_guarantee_refused("espilon", 1,
                           R"(guarantee: unknown key "espilon"; did you mean "epsilon"?)");
}

TEST(PolicyJson, NamesTheFieldThatIsWrong) {
  expect_field_refused(
      "criterion", "sure",
      R"(criterion: unknown criterion "sure"; known: confidence, entropy, margin, patience)");
  expect_field_refused("criterion", 1, "criterion: got 1, expected a text");
  expect_field_refused("ensemble", "meann",
                       R"(ensemble: unknown ensemble "meann"; did you mean "mean"?)");
  expect_field_refused("thresholds", 0.5, "thresholds: got 0.5, expected an array");
  for (const Json& value : {Json("0.5"), Json(2e6), Json(Json::array()), Json(true)})
    expect_field_refused("thresholds", {0.5, value},
                         "thresholds[1]: expected null or a number from -1000000 to 1000000");
  expect_field_refused("thresholds", {0.5},
                       "thresholds: got 1, expected 2: one for each early exit");
  expect_field_refused("thresholds", std::vector<double>(1001),
                       "thresholds: 1001 elements are more than the 1000 allowed");
  expect_field_refused("temperatures", {1, -1, 1},
                       "temperatures[1]: got -1, expected a number from 0 to 1000000");
  expect_field_refused("temperatures", {1, 0, 1},
                       "temperatures: expected finite numbers above 0, got 0");
  // This number is above 0 as a double, but 0 as a float.
  expect_field_refused("temperatures", {1, 1e-60, 1},
                       "temperatures: expected finite numbers above 0, got 0");
  expect_field_refused("temperatures", {1, 1},
                       "temperatures: got 2, expected 3: one for each exit");
  expect_field_refused("ensemble_weights", {1, 1, "1"},
                       "ensemble_weights[2]: got the text \"1\", expected a number from 0 to "
                       "1000000");
  expect_field_refused("ensemble_weights", {1, 1},
                       "ensemble_weights: got 2, expected 3 if the ensemble is weighted and none "
                       "otherwise; it is \"weighted\"");
  expect_field_refused("ensemble", "mean",
                       "ensemble_weights: got 3, expected 3 if the ensemble is weighted and none "
                       "otherwise; it is \"mean\"");
  expect_field_refused("ensemble_weights", {0, 1, 1},
                       "ensemble_weights: the weight of exit 1 must be above 0, because no other "
                       "exit precedes it");
  expect_field_refused("aim", "--max-cost 0.5",
                       "aim: got the text \"--max-cost 0.5\", expected an object");
  expect_field_refused("guarantee", 0.01, "guarantee: got 0.01, expected an object");
  EXPECT_THAT([] { policy_from_json("[]", 3); },
              ThrowsMessage<Error>("the text: got an array, expected an object"));
  EXPECT_THAT([] { policy_from_json("{", 3); }, ThrowsMessage<Error>("not valid JSON at byte 2"));
}

TEST(PolicyJson, NamesTheFieldOfAGuaranteeThatIsWrong) {
  expect_guarantee_refused("of", "help",
                           R"(guarantee.of: got "help", expected harm or disagreement)");
  expect_guarantee_refused("epsilon", 1.5,
                           "guarantee.epsilon: got 1.5, expected a number from 0 to 1");
  expect_guarantee_refused("delta", -0.1,
                           "guarantee.delta: got -0.1, expected a number from 0 to 1");
  expect_guarantee_refused("images", 0,
                           "guarantee.images: got 0, expected an integer from 1 to 1099511627776");
  expect_guarantee_refused("counted", 4001,
                           "guarantee.counted: got 4001, expected an integer from 0 to 4000");
  expect_guarantee_refused("precision", 32, "guarantee.precision: got 32, expected a text");
  expect_guarantee_refused("kernels", nullptr, "guarantee.kernels: got null, expected a text");
  for (const char* hash : {"", "a52a8af2c8bf072", "A52A8AF2C8BF0727"})
    expect_guarantee_refused(
        "hash", hash,
        "guarantee.hash: got \"" + std::string(hash) + "\", expected 16 hexadecimal digits");
}

TEST(PolicyJson, KeepsTheHashOfACertificate) {
  EXPECT_EQ(policy_to_json(certified_policy()).find("hash"), std::string::npos);
  policy::ChosenPolicy chosen = certified_policy();
  chosen.guarantee->hash = "a52a8af2c8bf0727";
  EXPECT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen);
}

TEST(PolicyJson, RefusesAnInvalidCertificate) {
  // The level of the test is above delta.
  expect_guarantee_refused("level", 0.0501,
                           "guarantee.level: got 0.0501, expected a number from 0 to 0.05");
  // The upper bound is above epsilon.
  expect_guarantee_refused("upper_bound", 0.0101,
                           "guarantee.upper_bound: got 0.0101, expected a number from 0 to 0.01");
  // Values equal to these limits are accepted.
  const policy::ChosenPolicy chosen = read_after([](Json& json) {
    json["guarantee"]["level"] = 0.05;
    json["guarantee"]["upper_bound"] = 0.01;
  });
  EXPECT_EQ(chosen.guarantee->level, chosen.guarantee->delta);
  EXPECT_EQ(chosen.guarantee->upper_bound, chosen.guarantee->epsilon);
}

TEST(PolicyJson, GivesBackEveryKindOfAim) {
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(3);
  const std::vector<std::optional<policy::Aim>> aims = {
      std::nullopt,
      policy::FixedThreshold{0.9},
      policy::FixedThreshold{1, policy::CostUnit::ms},
      policy::AccuracyDrop{0.005},
      policy::AccuracyDrop{0, "plain model.safetensors", policy::CostUnit::ms},
      policy::MaxCost{1.5},
      policy::HarmGuarantee{0.01, 0.05},
      policy::HarmGuarantee{1e-6, 0.1, true, policy::CostUnit::ms}};
  for (const std::optional<policy::Aim>& aim : aims) {
    SCOPED_TRACE(policy::describe_aim(aim));
    chosen.aim = aim;
    EXPECT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen);
  }
}

TEST(PolicyJson, NamesTheReferenceOfHarmWhereThereIsAnEnsemble) {
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(3);
  chosen.guarantee = policy::Guarantee{"harm", 0.1, 0.1, 0.09, 50, 0, 0.05, "f32", "onednn"};
  chosen.aim = policy::HarmGuarantee{0.1, 0.1};
  EXPECT_THAT(policy_to_json(chosen), testing::Not(HasSubstr("against")));
  EXPECT_FALSE(names_harm_reference(chosen));
  EXPECT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen);

  chosen.policy.ensemble = policy::Ensemble::mean;
  for (const policy::HarmReference against :
       {policy::HarmReference::last_exit, policy::HarmReference::ensemble}) {
    chosen.guarantee->against = against;
    chosen.aim = policy::HarmGuarantee{.epsilon = 0.1, .delta = 0.1, .against = against};
    EXPECT_TRUE(names_harm_reference(chosen));
    EXPECT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen);
  }
  // Before the reference was stored, it was the ensemble of all exits.
  Json old = Json::parse(policy_to_json(chosen));
  old["aim"].erase("against");
  old["guarantee"].erase("against");
  EXPECT_EQ(policy_from_json(old.dump(), 3), chosen);
  old["guarantee"]["against"] = "exit 1";
  EXPECT_THAT([&] { policy_from_json(old.dump(), 3); },
              testing::ThrowsMessage<Error>("guarantee.against: against: expected last_exit or "
                                            "ensemble, got \"exit 1\""));
  old["guarantee"]["against"] = "ensemble";
  old["ensemble"] = "off";
  EXPECT_THAT([&] { policy_from_json(old.dump(), 3); },
              testing::ThrowsMessage<Error>(
                  "guarantee.against: got \"ensemble\", but the policy has no ensemble"));
}

TEST(PolicyJson, NamesTheFieldOfAnAimThatIsWrong) {
  const auto refused = [](const Json& aim, const std::string& message) {
    expect_field_refused("aim", aim, message);
  };
  refused({{"kind", "luck"}, {"cost_unit", "macs"}},
          "aim.kind: got \"luck\", expected threshold, accuracy_drop, cost or guarantee");
  refused({{"kind", "cost"}, {"max_relative_cost", 0.5}, {"cost_unit", "s"}},
          "aim.cost_unit: unknown cost unit \"s\"; known: macs, ms");
  refused({{"kind", "cost"}, {"max_relative_cost", -0.5}, {"cost_unit", "ms"}},
          "aim.max_relative_cost: expected a relative cost above 0, got -0.5");
  refused({{"kind", "threshold"}, {"threshold", 1.5}, {"cost_unit", "ms"}},
          "aim.threshold: expected a score from 0 to 1, got 1.5");
  refused({{"kind", "accuracy_drop"}, {"max_drop", 0.1}, {"reference", 3}, {"cost_unit", "ms"}},
          "aim.reference: got 3, expected a text");
  refused({{"kind", "threshold"}, {"threshold", 1}, {"cost_unit", "ms"}, {"epsilon", 1}},
          "aim: unknown key \"epsilon\"");
}

TEST(PolicyJson, NamesTheFieldOfAPathThatIsWrong) {
  const auto refused = [](const std::string& key, const Json& value, const std::string& message) {
    SCOPED_TRACE(key);
    expect_refused([&](Json& json) { json["path"]["steps"][2][key] = value; }, message);
  };
  refused("accuracy", 1.5, "path.steps[2].accuracy: got 1.5, expected a number from 0 to 1");
  refused("counted", -1,
          "path.steps[2].counted: got -1, expected an integer from 0 to 1099511627776");
  refused("counted", 4001, "path.steps[2].counted: got 4001, but there are only 4000 images");
  refused(
      "relative_cost", "1",
      "path.steps[2].relative_cost: got the text \"1\", expected a number from 0 to 1000000000");
  refused("thresholds", {0.9, true},
          "path.steps[2].thresholds[1]: expected null or a number from -1000000 to 1000000");
  refused("thresholds", {0.9},
          "path.steps[2].thresholds: got 1, expected 2: one for each early exit");
  refused("threshold", {0.9},
          R"(path.steps[2]: unknown key "threshold"; did you mean "thresholds"?)");
  expect_refused([](Json& json) { json["path"]["chosen"] = 3; },
                 "path.chosen: got 3, expected the last or the last but one of 3 steps");
  expect_refused([](Json& json) { json["guarantee"] = nullptr; },
                 "path: a path needs a guarantee, and there is none");
}

/// Returns the text of a policy as version 1 of the format has it.
std::string version_1(const std::string& aim, const std::string& criterion = "confidence") {
  return R"({"criterion":")" + criterion +
         R"(","thresholds":[0.9,null],"temperatures":[1.1,1.0,0.875],"ensemble":"off",)"
         R"("ensemble_weights":[],"aim":)" +
         Json(aim).dump() + R"(,"guarantee":null})";
}

TEST(PolicyJsonVersion1, ReadsEachTextOfAnAimAsWhatItMeant) {
  const struct {
    std::string text;
    policy::Aim aim;
  } cases[] = {
      {"--threshold 0.9", policy::FixedThreshold{0.9}},
      {"--threshold 1e-05 --cost ms", policy::FixedThreshold{1e-5, policy::CostUnit::ms}},
      {"--max-accuracy-drop 0.005", policy::AccuracyDrop{0.005}},
      {"--max-accuracy-drop 0 --cost ms", policy::AccuracyDrop{0, "", policy::CostUnit::ms}},
      {"--max-accuracy-drop 0.01 --reference plain.safetensors",
       policy::AccuracyDrop{0.01, "plain.safetensors"}},
      {"--max-accuracy-drop 0.01 --reference my plain --cost ms",
       policy::AccuracyDrop{0.01, "my plain", policy::CostUnit::ms}},
      {"--max-cost 0.5", policy::MaxCost{0.5}},
      {"--max-cost 0.5 --cost ms", policy::MaxCost{0.5, policy::CostUnit::ms}},
      {"--guarantee 0.02 --delta 0.05", policy::HarmGuarantee{0.02, 0.05}},
      {"--guarantee 0.02 --delta 0.1 --label-free", policy::HarmGuarantee{0.02, 0.1, true}},
      {"--guarantee 0.02 --delta 0.1 --label-free --cost ms",
       policy::HarmGuarantee{0.02, 0.1, true, policy::CostUnit::ms}},
  };
  for (const auto& [text, aim] : cases) {
    SCOPED_TRACE(text);
    const policy::ChosenPolicy chosen = policy_from_json(version_1(text), 3, 1);
    EXPECT_EQ(chosen.aim, aim);
    EXPECT_EQ(describe(aim), text);  // the text for people has not changed
    EXPECT_EQ(chosen.policy.thresholds, (policy::Thresholds{0.9f, std::nullopt}));
    EXPECT_FALSE(chosen.path);
    EXPECT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen);
  }
  EXPECT_EQ(policy_from_json(version_1("--threshold 2", "patience"), 3, 1).aim,
            policy::Aim(policy::FixedThreshold{2}));
}

TEST(PolicyJsonVersion1, TakesOtherTextsForAnAimThatIsNotRecorded) {
  for (const std::string text :
       {"", "test", "--max-cost", "--max-cost half", "--max-cost 0.5 and more", "--max-cost -1",
        "--threshold 2", "--guarantee 0.02 --delta 0.1 --lax", "--guarantee 2 --delta 0.1"}) {
    SCOPED_TRACE(text);
    EXPECT_EQ(policy_from_json(version_1(text), 3, 1).aim, std::nullopt);
  }
}

TEST(PolicyJsonVersion1, HasNoPathAndNoOtherAimThanAText) {
  const auto refused = [](const std::function<void(Json&)>& edit, const std::string& message) {
    Json json = parse_json(version_1("--max-cost 0.5"));
    edit(json);
    EXPECT_THAT([&] { policy_from_json(json.dump(), 3, 1); }, ThrowsMessage<Error>(message));
  };
  refused([](Json& json) { json["aim"] = nullptr; }, "aim: got null, expected a text");
  refused([](Json& json) { json["aim"] = std::string(1001, 'x'); },
          "aim: text of 1001 bytes is longer than the 1000 allowed");
  refused([](Json& json) { json["path"] = nullptr; }, "unknown key \"path\"");
}

TEST(PolicyJson, RefusesAPolicyOfAnotherNumberOfExits) {
  const std::string text = policy_to_json(certified_policy());
  EXPECT_THAT([&] { policy_from_json(text, 2); },
              ThrowsMessage<Error>("thresholds: got 2, expected 1: one for each early exit"));
  EXPECT_THAT([&] { policy_from_json(text, 4); },
              ThrowsMessage<Error>("thresholds: got 2, expected 3: one for each early exit"));
}

TEST(PolicyJson, SurvivesChangedBytes) {
  const std::string whole = policy_to_json(certified_policy());
  int refused = 0;
  for (std::uint64_t round = 0; round < 20'000; ++round) {
    core::KeyedRandom random(13, round);
    std::string text = whole;
    for (std::uint64_t i = 0; i <= random.below(3); ++i)
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    try {
      // An accepted policy must be usable.
      const policy::ChosenPolicy chosen = policy_from_json(text, 3);
      check(chosen.policy, 3);
      if (chosen.guarantee) {
        ASSERT_LE(chosen.guarantee->level, chosen.guarantee->delta);
        ASSERT_LE(chosen.guarantee->upper_bound, chosen.guarantee->epsilon);
      }
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 10'000);
}

TEST(PolicyJson, KeepsWhatWasVerifiedForOtherCode) {
  policy::ChosenPolicy chosen = certified_policy();
  chosen.verified = {{"f32", "onednn 2.6.3 avx2", 3000, 2, 0.01, 0.0031},
                     {"bf16", "onednn 3.7.2 avx512_core_amx", 500, 0, 0.05, 0.0061}};
  EXPECT_EQ(policy_from_json(policy_to_json(chosen), 3), chosen);
  const auto refused = [&](const std::function<void(Json&)>& edit, const std::string& why) {
    Json json = Json::parse(policy_to_json(chosen));
    edit(json);
    EXPECT_THAT([&] { policy_from_json(json.dump(), 3); },
                testing::ThrowsMessage<Error>(testing::HasSubstr(why)));
  };
  refused([](Json& json) { json["verified"][1]["rho"] = -0.1; }, "verified[1].rho");
  refused([](Json& json) { json["verified"][0]["rho"] = 0.0001; }, "below the observed rate");
  refused([](Json& json) { json["verified"][0]["rho"] = 0.995; }, "verified[0].rho");
  refused([](Json& json) { json["verified"][0]["alpha"] = 0.96; }, "verified[0].alpha");
  refused([](Json& json) { json["verified"][0]["differing"] = 3001; }, "verified[0].differing");
  refused([](Json& json) { json["verified"][0].erase("images"); }, "images");
  refused(
      [](Json& json) {
        json["guarantee"] = nullptr;
        json.erase("path");
      },
      "verified: needs a guarantee");
}

TEST(PolicyJson, KeepsTheBoundOnDisagreement) {
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(2);
  chosen.policy.thresholds = {0.5f};
  chosen.guarantee = policy::Guarantee{"harm", 0.01, 0.05, 0.0441, 4000, 29, 0.0097, "f32", "code"};
  chosen.guarantee->disagreement =
      policy::DisagreementBound{2e-6, 61, policy::clopper_pearson_upper(61, 4000, 2e-6)};
  chosen.path =
      policy::CertifiedPath{.steps = {{.thresholds = policy::Thresholds(1), .disagreed = 0},
                                      {.thresholds = {0.5f}, .counted = 29, .disagreed = 61}},
                            .chosen = 1};
  const std::string text = policy_to_json(chosen);
  EXPECT_EQ(policy_from_json(text, 2), chosen);
  const auto refused = [&](const auto& edit, const std::string& message) {
    Json json = Json::parse(text);
    edit(json);
    EXPECT_THAT([&] { policy_from_json(json.dump(), 2); },
                ThrowsMessage<Error>(HasSubstr(message)));
  };
  refused(
      [](Json& json) { json["guarantee"]["disagreement"]["upper_bound"] = 0.01; },
      "guarantee.disagreement.upper_bound: got 0.01, but 61 of 4000 images at level 2e-06 give");
  refused([](Json& json) { json["guarantee"]["disagreement"]["level"] = 0; },
          "guarantee.disagreement.level: got 0, expected a number between 0 and 1");
  refused(  // a bound that no rate could be compared with
      [](Json& json) {
        json["guarantee"]["disagreement"] = {{"level", 2e-6}, {"counted", 0}, {"upper_bound", 0}};
      },
      "guarantee.disagreement.upper_bound: got 0, but 0 of 4000 images at level 2e-06 give");
  refused([](Json& json) { json["guarantee"]["disagreement"]["counted"] = -1; },
          "guarantee.disagreement.counted: got -1, expected an integer from 0 to 4000");
  refused([](Json& json) { json["guarantee"]["disagreement"].erase("level"); },
          "guarantee.disagreement.level is missing");
  refused([](Json& json) { json["guarantee"]["of"] = "disagreement"; },
          "guarantee.disagreement: is allowed only in a guarantee of harm");
}

}  // namespace
}  // namespace offramp::model
