#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "data/dataset.h"
#include "eval/logits_file.h"
#include "graph/cost.h"
#include "image/image.h"
#include "model/model_file.h"
#include "tests/cli/program.h"
#include "tests/support/models.h"

namespace offramp::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

/// A model file with random weights for the classes of the synthetic images.
class Models : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    data::LoadOptions options;
    options.synthetic_train = 200;
    options.synthetic_test = 50;
    test_part = data::load_data("synthetic", data::Part::test, options);
    train_part = data::load_data("synthetic", data::Part::train, options);
  }

  Models() {
    model = small_model(test_part.dataset.classes);
    save();
  }

  void save() { model::save_model(path, model); }

  static std::vector<std::uint64_t> sorted(std::vector<std::uint64_t> hashes) {
    std::sort(hashes.begin(), hashes.end());
    return hashes;
  }

  /// Writes a test image as PNG and returns the path.
  std::string png(std::int64_t index) const {
    return write_png(folder.path() / ("image" + std::to_string(index) + ".png"), test_part.dataset,
                     index);
  }

  static inline data::LoadedData test_part, train_part;
  core::TemporaryFolder folder;
  model::ModelFile model;
  std::string path = folder.path() / "model.safetensors";
};

TEST_F(Models, TestGivesItsFiguresAsJson) {
  const std::string logits = folder.path() / "logits.safetensors",
                    twin = folder.path() / "twin.safetensors";
  model::save_model(twin, model);
  const ProgramResult ended =
      offramp({"test", path, "--data", "synthetic", "--json", "--confusion", "--threshold", "0.15",
               "--save-logits", logits, "--compare", twin, "--threads", "1"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const json result = json::parse(ended.out);
  EXPECT_EQ(result["model"], path);
  EXPECT_EQ(result["data"], "synthetic");
  const std::int64_t images = result["images"];
  EXPECT_EQ(eval::load_logits(logits).view().images(), images);
  const graph::Cost cost = graph::cost_of(model.graph);
  ASSERT_EQ(result["exits"].size(), 3u);
  for (int k = 0; k < 3; ++k) {
    const json& exit = result["exits"][static_cast<std::size_t>(k)];
    EXPECT_EQ(exit["exit"], k + 1);
    EXPECT_LE(exit["accuracy_interval"][0], exit["accuracy"]);
    EXPECT_GE(exit["accuracy_interval"][1], exit["accuracy"]);
    EXPECT_EQ(exit["macs"], cost.exit_macs[static_cast<std::size_t>(k)]);
    EXPECT_DOUBLE_EQ(exit["relative_cost"], cost.relative(k));
    EXPECT_TRUE(exit["nll"].is_number() && exit["ece"].is_number());
    EXPECT_EQ(exit["confident_and_correct"].size(), 3u);
    std::int64_t all = 0, diagonal = 0;
    for (std::size_t row = 0; row < 10; ++row)
      for (std::size_t column = 0; column < 10; ++column) {
        const std::int64_t n = exit["confusion"][row][column];
        all += n;
        if (row == column) diagonal += n;
      }
    EXPECT_EQ(all, images);
    EXPECT_NEAR(exit["accuracy"], static_cast<double>(diagonal) / static_cast<double>(images),
                1e-12);
  }
  EXPECT_EQ(result["ensembles"].size(), 3u);
  const json& overthinking = result["overthinking"];
  double found = 0, lost = 0;
  for (const json& rate : overthinking["first_correct"]) found += static_cast<double>(rate);
  for (const json& rate : overthinking["lost_after"]) lost += static_cast<double>(rate);
  EXPECT_NEAR(found, overthinking["oracle"], 1e-12);
  EXPECT_NEAR(lost, overthinking["destructive"], 1e-12);
  EXPECT_NEAR(overthinking["destroyed_errors"],
              lost / (1 - static_cast<double>(result["exits"][2]["accuracy"])), 1e-12);
  std::int64_t of_classes = 0;
  for (const json& row : overthinking["classes"])
    of_classes += static_cast<std::int64_t>(row["images"]);
  EXPECT_EQ(of_classes, images);
  const json& policy = result["policy"];
  EXPECT_EQ(policy["executed"], true);
  EXPECT_EQ(policy["from"], "flags");
  const json& rows = result["controls"];
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(rows[5]["name"], twin + ", its last exit alone");
  EXPECT_NEAR(rows[4]["difference"],
              static_cast<double>(policy["accuracy"]) - static_cast<double>(rows[4]["accuracy"]),
              1e-12);

  const auto reads = json_lines(core::read_text(folder.path() / "test_reads.jsonl"));
  ASSERT_EQ(reads.size(), 1u);
  EXPECT_EQ(reads[0]["images"], images);
  EXPECT_THAT(
      std::string(reads[0]["command"]),
      testing::AllOf(testing::StartsWith("offramp test " + path), HasSubstr("--threshold 0.15")));
}

TEST_F(Models, TestFollowsTheModelsOwnPolicy) {
  policy::ChosenPolicy chosen = certified_policy();
  chosen.policy.thresholds = {0.14f, std::nullopt};
  chosen.policy.temperatures = {1.1f, 1, 0.9f};
  chosen.policy.ensemble = policy::Ensemble::geometric;
  model.policy = chosen;
  save();
  const ProgramResult ended = offramp({"test", path, "--data", "synthetic", "--json"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const json policy = json::parse(ended.out)["policy"];
  EXPECT_EQ(policy["from"], "model");
  EXPECT_EQ(policy["ensemble"], "geometric");
  EXPECT_TRUE(policy["thresholds"][1].is_null());
  EXPECT_EQ(policy["shares"][1], 0);
  EXPECT_EQ(policy["guarantee"]["epsilon"], 0.05);
  EXPECT_EQ(policy["guarantee"]["in_force"], "unknown") << policy;
  EXPECT_THAT(std::string(policy["guarantee"]["why"]), HasSubstr("cannot be seen"));
  EXPECT_EQ(policy["replay_differs"], 0);
  const ProgramResult narrow = offramp({"test", path, "--data", "synthetic", "--json"},
                                       {.environment = {"ONEDNN_MAX_CPU_ISA=SSE41"}});
  ASSERT_EQ(narrow.status, 0) << narrow.err;  // a certificate holds for its own kernels only
  const json elsewhere = json::parse(narrow.out)["policy"]["guarantee"];
  EXPECT_EQ(elsewhere["in_force"], false);
  EXPECT_THAT(std::string(elsewhere["why"]), HasSubstr("sse41"));
  const ProgramResult none =
      offramp({"test", path, "--data", "synthetic", "--json", "--no-policy"});
  EXPECT_TRUE(json::parse(none.out)["policy"].is_null());
  const ProgramResult text = offramp({"test", path, "--data", "synthetic"});
  EXPECT_THAT(text.out, HasSubstr("The model's policy: stop where confidence ≥ 0.14, never"));
  EXPECT_THAT(text.out, HasSubstr("its certificate (harm ≤ 0.05 with probability ≥ 0.9) is not "
                                  "known to be in force: "));

  const std::string picture = png(0);
  const ProgramResult classified = offramp({"classify", path, picture, "--json"});
  ASSERT_EQ(classified.status, 0) << classified.err;
  EXPECT_NE(json_lines(classified.out)[0]["exit"], 2);
  EXPECT_EQ(json_lines(classified.out)[0]["guarantee"]["in_force"], "unknown");
  EXPECT_EQ(json_lines(classified.out)[0]["guarantee"]["epsilon"], 0.05);
  const ProgramResult by_threshold =
      offramp({"classify", path, picture, "--json", "--threshold", "0.5"});
  EXPECT_EQ(json_lines(by_threshold.out)[0]["guarantee"]["in_force"], false);
  EXPECT_THAT(std::string(json_lines(by_threshold.out)[0]["guarantee"]["why"]),
              HasSubstr("another rule than the model's policy"));
}

TEST_F(Models, NoOutputReportsACertificateInForceDuringDrift) {
  policy::ChosenPolicy chosen = certified_policy();
  chosen.seen = policy::TuneExitShares{2000, {0, 0, 1}};
  model.policy = chosen;
  save();
  const std::string data = folder.path() / "many.pack";
  data::LoadOptions many;
  many.synthetic_test = 400;
  data::write_packed(data, train_part, data::load_data("synthetic", data::Part::test, many));
  const auto test = [&] { return offramp({"test", path, "--data", data, "--threads", "1"}); };
  EXPECT_THAT(test().out, HasSubstr("certified: harm ≤ 0.05 with probability ≥ 0.9, on images like "
                                    "the certify images; in force\n"));

  model.policy->seen->shares = {0.5, 0.25, 0.25};
  save();
  const std::string text = test().out;
  EXPECT_THAT(text, HasSubstr("drift: "));
  EXPECT_THAT(text, HasSubstr("is not in force: the images have changed"));
  EXPECT_THAT(text, testing::Not(HasSubstr("certified:")));
  const json as_json = json::parse(
      offramp({"test", path, "--data", data, "--threads", "1", "--json"}).out)["policy"];
  EXPECT_EQ(as_json["drift"]["flag"], "drifted");
  EXPECT_EQ(as_json["guarantee"]["in_force"], false);

  std::vector<std::string> command = {"classify", path};
  for (int i = 0; i < 50; ++i) command.push_back(png(i % 3));
  for (int i = 0; i < 200; ++i) command.push_back(command[2 + static_cast<std::size_t>(i) % 50]);
  const ProgramResult plain = offramp(command);
  EXPECT_THAT(plain.err, HasSubstr("offramp: its certificate (harm ≤ 0.05 with probability ≥ 0.9) "
                                   "is not in force: the images have changed"));
  command.push_back("--json");
  EXPECT_EQ(json_lines(offramp(command).out).back()["guarantee"]["in_force"], false);

  const std::string page = folder.path() / "page.html";
  ASSERT_EQ(offramp({"report", path, "--data", data, "-o", page}).status, 0);
  const std::string html = core::read_text(page);
  EXPECT_THAT(html, HasSubstr("Its certificate is not in force: the images have changed"));
  EXPECT_THAT(html, testing::Not(HasSubstr("in force here")));
  model.policy->seen->shares = {0, 0, 1};
  save();
  ASSERT_EQ(offramp({"report", path, "--data", data, "-o", page}).status, 0);
  EXPECT_THAT(core::read_text(page), HasSubstr("Certified, and in force here: harm ≤ 5 %"));
}

TEST_F(Models, WarnsWhenImagesLeaveAtOtherExitsThanAtCalibration) {
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(3);
  chosen.policy.thresholds = {0.14f, 0.14f};
  model.policy = chosen;
  save();
  const auto tested = [&](const char* format) {
    return offramp({"test", path, "--data", "synthetic", format}).out;
  };
  const json unknown = json::parse(tested("--json"))["policy"];
  EXPECT_TRUE(unknown["drift"].is_null());
  const std::vector<double> shares = unknown["shares"];
  model.policy->seen = policy::TuneExitShares{2000, {shares[1], shares[2], shares[0]}};
  save();
  EXPECT_EQ(json::parse(tested("--json"))["policy"]["drift"]["flag"], "drifted");
  EXPECT_THAT(tested("--threads=1"), HasSubstr("drift: "));

  std::string list;
  for (int i = 0; i < 199; ++i) list += png(i % 50) + "\n";
  const ProgramResult few = offramp({"classify", path, "-"}, {.input = list});
  EXPECT_EQ(few.err, "");  // drift is not tested on so few images
  list += list;
  const ProgramResult many = offramp({"classify", path, "-"}, {.input = list});
  EXPECT_EQ(many.status, 0);
  EXPECT_THAT(many.err, testing::StartsWith("offramp: drift: "));
  EXPECT_TRUE(is_one_line(many.err)) << many.err;
}

TEST_F(Models, TestWritesSweepsChosenOnTune) {
  const auto& hashes = train_part.dataset.hashes;
  model.provenance.data.tune = sorted({hashes.begin(), hashes.begin() + 40});
  save();
  const std::string as_json = folder.path() / "sweep.json", as_csv = folder.path() / "sweep.csv";
  const ProgramResult ended = offramp(
      {"test", path, "--data", "synthetic", "--sweep", as_json, "--sweep", as_csv, "--json"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const json result = json::parse(ended.out), all = json::parse(core::read_text(as_json));
  EXPECT_EQ(all["replayed"], true);
  EXPECT_EQ(all["chosen_on"]["images"], 40);
  ASSERT_EQ(all["curves"].size(), 16u);  // four criteria, four ensembles
  std::size_t points = 0;
  for (const json& curve : all["curves"]) {
    points += curve["points"].size();
    for (const json& point : curve["points"]) {
      double shares = 0;
      for (const json& share : point["shares"]) shares += static_cast<double>(share);
      EXPECT_NEAR(shares, 1, 1e-12);
    }
  }
  const std::string csv = core::read_text(as_csv);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), static_cast<std::ptrdiff_t>(points + 1));
  EXPECT_THAT(csv, testing::StartsWith("criterion,ensemble,threshold,accuracy,relative_cost,"));

  const ProgramResult refused = offramp({"test", path, "--data", "synthetic", "--sweep", "a.txt"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("ending in .json or .csv, got \"a.txt\""));
}

TEST_F(Models, TestPrintsATableForPeople) {
  const ProgramResult ended = offramp({"test", path, "--data", "synthetic", "--threshold", "0.5"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  for (const char* part : {"exit", "layer4.1", "relative cost", "weighted", "destructive",
                           "stop where confidence ≥ 0.5", "left at exit 3"})
    EXPECT_THAT(ended.out, HasSubstr(part));
  EXPECT_EQ(ended.out.find('\x1b'), std::string::npos);
}

TEST_F(Models, TestRefusesImagesTheModelWasTrainedOn) {
  model.provenance.data.train =
      sorted({test_part.dataset.hashes[4], test_part.dataset.hashes[2], 7});
  save();
  const ProgramResult ended = offramp({"test", path, "--data", "synthetic"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, HasSubstr(path + ": the model was trained on 2 of these"));
  EXPECT_THAT(ended.err, HasSubstr("(--skip-trained leaves them out)"));
  EXPECT_THAT(ended.err, HasSubstr(test_part.dataset.names[2]));
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "test_reads.jsonl"));

  const ProgramResult skipped =
      offramp({"test", path, "--data", "synthetic", "--json", "--skip-trained"});
  EXPECT_EQ(skipped.status, 0);
  EXPECT_THAT(skipped.err, HasSubstr("left out 2 images"));
}

TEST_F(Models, ClassifyPrintsOneObjectPerLineAndContinuesAfterABadImage) {
  const std::string good = png(0), other = png(1), bad = folder.path() / "bad.jpg",
                    missing = folder.path() / "missing.png";
  core::write_text_atomic(bad, "");
  const ProgramResult ended = offramp({"classify", path, good, bad, missing, other, "--json"});
  EXPECT_EQ(ended.status, 1);
  const auto answers = json_lines(ended.out);
  ASSERT_EQ(answers.size(), 4u);
  EXPECT_EQ(answers[0]["image"], good);
  EXPECT_EQ(answers[0]["exit"], 3);
  EXPECT_DOUBLE_EQ(answers[0]["relative_cost"], graph::cost_of(model.graph).relative(2));
  EXPECT_GT(answers[0]["probability"], 0.0);
  EXPECT_TRUE(answers[0]["class"].is_string());
  EXPECT_EQ(answers[1]["image"], bad);
  EXPECT_EQ(answers[1].size(), 2u);
  EXPECT_THAT(std::string(answers[1]["error"]), HasSubstr(bad + ": "));
  EXPECT_THAT(std::string(answers[2]["error"]), HasSubstr(missing + ": "));
  EXPECT_EQ(answers[3]["image"], other);
  EXPECT_TRUE(answers[3].contains("class"));
}

TEST_F(Models, ClassifyNamesBadImagesInOneLineEachForPeople) {
  const std::string good = png(0), bad = folder.path() / "bad.png";
  core::write_text_atomic(bad, "\x89PNG\r\n\x1a\n");
  const ProgramResult ended = offramp({"classify", path, bad, good});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, HasSubstr("offramp: " + bad + ": "));
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("exit 3"));
  EXPECT_TRUE(is_one_line(ended.out)) << ended.out;
}

TEST_F(Models, ClassifyStopsAtAThreshold) {
  const std::string image = png(0);
  const auto exit_at = [&](const std::string& threshold) {
    const ProgramResult ended =
        offramp({"classify", path, image, "--json", "--threshold", threshold});
    EXPECT_EQ(ended.status, 0) << ended.err;
    return static_cast<int>(json_lines(ended.out).at(0)["exit"]);
  };
  EXPECT_EQ(exit_at("0"), 1);
  EXPECT_EQ(exit_at("1"), 3);
}

TEST_F(Models, ClassifyReadsAFolderAndPathsOnStandardInput) {
  const std::string first = png(0), second = png(1);
  core::write_text_atomic(folder.path() / "notes.txt", "not an image");
  const ProgramResult of_folder = offramp({"classify", path, folder.path(), "--json"});
  EXPECT_EQ(of_folder.status, 0) << of_folder.err;
  ASSERT_EQ(json_lines(of_folder.out).size(), 2u);
  EXPECT_EQ(json_lines(of_folder.out)[0]["image"], first);

  const ProgramResult of_input =
      offramp({"classify", path, "-", "--json"}, {.input = second + "\n\n" + first});
  EXPECT_EQ(of_input.status, 0) << of_input.err;
  const auto answers = json_lines(of_input.out);
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0]["image"], second);
  EXPECT_EQ(answers[1]["image"], first);
}

TEST_F(Models, ClassifyFailsIfItsAnswersAreLost) {
  const std::string image = png(0);
  for (const char* format : {"--json", "--no-policy"}) {
    const ProgramResult ended =
        offramp({"classify", path, image, format}, {.output_to = "/dev/full"});
    EXPECT_EQ(ended.status, 1);
    EXPECT_EQ(ended.err, "offramp: standard output: No space left on device\n");
  }
}

TEST_F(Models, ClassifySaysWhyItCannotReadPathsFromItsInput) {
  const ProgramResult closed = offramp({"classify", path, "-"}, {.closed_descriptor = 0});
  EXPECT_EQ(closed.status, 1);
  EXPECT_EQ(closed.err, "offramp: standard input: cannot read: Bad file descriptor\n");
  const ProgramResult directory = offramp({"classify", path, "-"}, {.input_from = folder.path()});
  EXPECT_EQ(directory.status, 1);
  EXPECT_EQ(directory.err, "offramp: standard input: cannot read: Is a directory\n");
  const ProgramResult endless = offramp({"classify", path, "-"}, {.input_from = "/dev/zero"});
  EXPECT_EQ(endless.status, 1);
  EXPECT_EQ(endless.err,
            "offramp: standard input: a line is longer than 65536 bytes; expected the path of one "
            "image on each line\n");
}

TEST_F(Models, ClassifyOpensNoFileBeforeANul) {
  const std::string image = png(0);
  const ProgramResult ended =
      offramp({"classify", path, "-"}, {.input = image + std::string("\0x\n", 3)});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err, HasSubstr("cannot open: Invalid argument"));
}

TEST_F(Models, ClassifyAnswersAProgramThatWritesOnePathAtATime) {
  const std::string one = png(0), two = png(1), three = png(2);
  RunningProgram running({"classify", path, "-", "--json", "--threads", "1"});
  running.write_input(one + "\n");
  EXPECT_EQ(json::parse(running.read_line())["image"], one);
  running.write_input(two + "\r\n\n" + three);  // the last line has no newline yet
  EXPECT_EQ(json::parse(running.read_line())["image"], two);
  running.write_input("\n" + one);
  EXPECT_EQ(json::parse(running.read_line())["image"], three);
  EXPECT_EQ(running.end(), 0);
  EXPECT_EQ(json::parse(running.read_line())["image"], one)
      << "a line that the input ends in counts";
  EXPECT_EQ(running.read_line(), "");
}

TEST_F(Models, ClassifyRefusesAFolderWithoutImages) {
  const core::TemporaryFolder empty;
  const ProgramResult ended = offramp({"classify", path, empty.path()});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, HasSubstr("no JPEG, PNG, WebP or BMP file in this folder"));
}

TEST_F(Models, PrecisionsAndFlagsThatDoNotExistAreNamedInOneLine) {
  const auto refused = [&](std::vector<std::string> more, int status, const std::string& part) {
    std::vector<std::string> arguments = {"test", path, "--data", "synthetic"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramResult ended = offramp(arguments);
    EXPECT_EQ(ended.status, status);
    EXPECT_THAT(ended.err, HasSubstr(part));
    EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  };
  refused({"--precision", "f23"}, 2, "unknown precision \"f23\"; did you mean \"f32\"?");
  refused({"--engine", "libtorch"}, 2, "unexpected flag \"--engine\"");
}

TEST_F(Models, ACpuWithoutAPrecisionsInstructionsSaysSoOnce) {
  policy::ChosenPolicy chosen = certified_policy("bf16");
  model.policy = chosen;
  save();
  const ProgramResult ended =
      offramp({"test", path, "--data", "synthetic", "--json", "--precision", "bf16"},
              {.environment = {"ONEDNN_MAX_CPU_ISA=AVX2"}});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.err,
              testing::StartsWith(
                  "this CPU has no instructions for bf16: the model runs in f32, for which nothing "
                  "was certified\n"));
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
  const json result = json::parse(ended.out);
  EXPECT_EQ(result["precision"], "f32");
  EXPECT_THAT(std::string(result["kernels"]), testing::ContainsRegex(" avx2($|, )"));
  EXPECT_EQ(result["policy"]["guarantee"]["in_force"], false);
  EXPECT_EQ(result["policy"]["guarantee"]["why"],
            "this CPU has no instructions for bf16: the model runs in f32, for which nothing was "
            "certified");
}

TEST_F(Models, TestDoesNotOverwriteItsInputs) {
  const std::string before = core::read_text(path);
  const ProgramResult ended = offramp({"test", path, "--data", "synthetic", "--save-logits", path});
  EXPECT_EQ(ended.status, 2);
  EXPECT_EQ(ended.err, "offramp: --save-logits: " + path +
                           " is an input, so it cannot be the output; choose another file\n");
  EXPECT_EQ(core::read_text(path), before);
}

}  // namespace
}  // namespace offramp::test
