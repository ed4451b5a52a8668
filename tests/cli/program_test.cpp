#include "tests/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "core/file.h"

namespace offramp::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

const std::vector<std::vector<std::string>> kCommands = {
    {},
    {"data"},
    {"data", "fetch"},
    {"data", "import"},
    {"data", "info"},
    {"data", "export"},
    {"info"},
    {"test"},
    {"classify"},
    {"bench"},
    {"completion"},
#ifdef OFFRAMP_WITH_TRAIN
    {"train"},
    {"exits"},
#endif
};

std::vector<std::string> with(std::vector<std::string> words, const std::string& word) {
  words.push_back(word);
  return words;
}

/// Checks that a call prints one line on standard error that contains `part`, and nothing else.
void expect_refusal(const std::vector<std::string>& arguments, int status,
                    const std::string& part) {
  SCOPED_TRACE(testing::PrintToString(arguments));
  const ProgramResult ended = offramp(arguments);
  EXPECT_EQ(ended.status, status);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err, StartsWith("offramp: "));
  EXPECT_THAT(ended.err, HasSubstr(part));
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
}

TEST(Program, EveryCommandHasHelp) {
  for (const auto& command : kCommands) {
    SCOPED_TRACE(testing::PrintToString(command));
    const ProgramResult ended = offramp(with(command, "--help"));
    EXPECT_EQ(ended.status, 0);
    EXPECT_THAT(ended.out, HasSubstr("Usage: offramp"));
    EXPECT_EQ(ended.err, "");
  }
}

TEST(Program, EveryCommandPrintsTheVersion) {
  for (const auto& command : kCommands) {
    SCOPED_TRACE(testing::PrintToString(command));
    const ProgramResult ended = offramp(with(command, "--version"));
    EXPECT_EQ(ended.status, 0);
    EXPECT_THAT(ended.out, StartsWith("offramp "));
    EXPECT_THAT(ended.out,
                testing::ContainsRegex(", onednn [0-9.]+ [a-z0-9_]+(, loops without fma)?\n$"));
    EXPECT_TRUE(is_one_line(ended.out));
  }
}

TEST(Program, WithoutACommandItListsThemAsWrongUsage) {
  const ProgramResult ended = offramp({});
  EXPECT_EQ(ended.status, 2);
  EXPECT_EQ(ended.out, "");
  for (const char* command : {"data", "test", "classify", "info"})
    EXPECT_THAT(ended.err, HasSubstr(command));
}

TEST(Program, RefusesWrongUsageInOneLineWithAHint) {
  expect_refusal({"clasify"}, 2, "unknown command \"clasify\"; did you mean \"classify\"?");
  expect_refusal({"data", "fetsh"}, 2, "did you mean \"fetch\"?; see offramp data --help");
  expect_refusal({"data"}, 2, "see offramp data --help");
  expect_refusal({"info"}, 2, "no file given; expected offramp info FILE; see offramp info --help");
  expect_refusal({"classify", "m"}, 2,
                 "no images given; expected offramp classify MODEL IMAGES…; see");
  expect_refusal({"info", "--jsn", "x"}, 2, "unexpected flag \"--jsn\"; did you mean \"--json\"?");
  expect_refusal({"info", "a", "b"}, 2, "unexpected argument \"b\"");
  expect_refusal({"test", "m", "--data", "d", "--part", "train"}, 2, "--part");
  expect_refusal({"test", "m", "--data", "d", "--threads", "none"}, 2, "--threads");
  expect_refusal({"test", "m"}, 2, "--data is required");
  expect_refusal({"test", "m", "--data", "d", "--threshold", "1.5"}, 2, "from 0 to 1, got 1.5");
  expect_refusal({"test", "m", "--data", "d", "--threshold", "nan"}, 2, "from 0 to 1, got nan");
  expect_refusal({"test", "m", "--data", "d", "--criterion", "entropie"}, 2,
                 "did you mean \"entropy\"?");
  expect_refusal({"classify", "m", "i", "--threshold", "-1"}, 2, "from 0 to 1, got -1");
  expect_refusal({"data", "fetch", "cifar11"}, 2, "cifar10");
}

TEST(Program, RefusesFilesThatAreNotThereInOneLine) {
  const core::TemporaryFolder folder;
  const std::string missing = folder.path() / "none";
  expect_refusal({"info", missing}, 1, missing + ": ");
  expect_refusal({"info", missing + ".toml"}, 1, missing + ".toml: ");
  expect_refusal({"test", missing, "--data", "synthetic"}, 1, missing + ": ");
  expect_refusal({"classify", missing, "x.png"}, 1, missing + ": ");
  expect_refusal({"data", "info", missing}, 1, missing + ": ");
  expect_refusal({"data", "export", missing, "--out", folder.path() / "to"}, 1, missing + ": ");
}

TEST(Program, AFullDiskUnderItsOutputIsAFailure) {
  const std::string recipe = std::string(OFFRAMP_CONFIGS) + "/quickstart.toml";
  const ProgramResult ended = offramp({"info", recipe}, {.output_to = "/dev/full"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "offramp: standard output: No space left on device\n");
}

TEST(Program, AFullDiskUnderAShortOutputIsAFailure) {
  const std::string recipe = std::string(OFFRAMP_CONFIGS) + "/quickstart.toml";
  const std::vector<std::vector<std::string>> commands = {
      {"--version"}, {"--help"}, {"info", recipe, "--json"}, {"data", "info", "synthetic"}};
  for (const std::vector<std::string>& command : commands) {
    SCOPED_TRACE(testing::PrintToString(command));
    const ProgramResult ended = offramp(command, {.output_to = "/dev/full"});
    EXPECT_EQ(ended.status, 1);
    EXPECT_THAT(ended.err, testing::StartsWith("offramp: standard output: "));
  }
}

TEST(Program, AClosedStandardOutputIsAFailure) {
  const ProgramResult ended = offramp({"--version"}, {.closed_descriptor = 1});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, testing::StartsWith("offramp: standard output: "));
}

TEST(Program, AFileItWritesIsNotTakenForAClosedStream) {
  const core::TemporaryFolder folder;
  const std::string packed = folder.path() / "packed";
  for (const int closed : {1, 2}) {
    offramp({"data", "import", "synthetic", "-o", packed}, {.closed_descriptor = closed});
    const ProgramResult read = offramp({"data", "info", packed, "--json"});
    EXPECT_EQ(read.status, 0) << read.err;
  }
}

TEST(Program, ItsErrorsSendNoEscapeSequencesToATerminal) {
  const ProgramResult ended = offramp({"info",
                                       "x\x1b]0;title\x07\xc2\x9b"
                                       "2J\n\xe2\x80\xae"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  for (const char* control : {"\x1b", "\x07", "\xc2\x9b", "\xe2\x80\xae"})
    EXPECT_THAT(ended.err, testing::Not(HasSubstr(control)));
}

TEST(Program, AClosedPipeCausesNoMessage) {
  const std::string recipe = std::string(OFFRAMP_CONFIGS) + "/quickstart.toml";
  const ProgramResult ended = offramp({"info", recipe}, {.close_output = true});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "");
}

/// A copy of offramp in its own folder, beside a script that stands in for offramp-train.
class Training : public testing::Test {
 protected:
  Training() {
    fs::create_directories(bin);
    fs::copy_file(OFFRAMP_PROGRAM, program);
  }

  static void write_script(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    core::write_text_atomic(path, "#!/bin/sh\n" + text);
    fs::permissions(path, fs::perms::owner_all);
  }

  ProgramResult run(const std::vector<std::string>& arguments) const {
    return offramp(arguments, {.program = program});
  }

  const core::TemporaryFolder folder;
  const fs::path bin = folder.path() / "bin", program = bin / "offramp";
};

TEST_F(Training, ReportsInOneLineThatItIsNotInstalled) {
  const std::string expected =
      "offramp: training is not installed here: offramp-train was not "
      "found beside " +
      program.string() + ", nor in " + (folder.path() / "libexec/offramp").string() +
      "; build with OFFRAMP_TRAIN=ON\n";
  for (const char* flag : {"--help", "recipe.toml"}) {
    const ProgramResult ended = run({"train", flag});
    EXPECT_EQ(ended.status, 1);
    EXPECT_EQ(ended.out, "");
    EXPECT_EQ(ended.err, expected);
  }
}

TEST_F(Training, ReceivesAllArgumentsAndSetsTheExitStatus) {
  const char* script = "echo $0; printf '%s\\n' \"$@\"; exit 7\n";
  const auto expect_run = [&](const fs::path& training) {
    const ProgramResult ended = run({"train", "a b", "", "--set", "x=1", "--", "test"});
    EXPECT_EQ(ended.status, 7);
    EXPECT_THAT(ended.out, StartsWith(training.string() + "\n--started-by="));
    EXPECT_THAT(ended.out, testing::EndsWith("\na b\n\n--set\nx=1\n--\ntest\n"));
  };
  const fs::path apart = folder.path() / "libexec/offramp/offramp-train";
  write_script(apart, script);
  expect_run(apart);
  write_script(bin / "offramp-train", script);
  expect_run(bin / "offramp-train");
  write_script(bin / "offramp-train", "kill -TERM $$\n");
  EXPECT_EQ(run({"train"}).status, 128 + SIGTERM);
}

#ifdef OFFRAMP_WITH_TRAIN
TEST(Program, TrainIsRefusedByATrainingProgramOfAnotherBuild) {
  const std::string training = fs::path(OFFRAMP_PROGRAM).parent_path() / "offramp-train";
  const ProgramResult ended =
      offramp({"--started-by=0.0.1 (abc)", "--help"}, {.program = training});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err,
              HasSubstr("belongs to another build than the offramp that started it: got 0."));
  EXPECT_THAT(ended.err, HasSubstr("expected 0.0.1 (abc); build and install both together"));
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  EXPECT_EQ(offramp({"--help"}, {.program = training}).status, 0) << "started by hand";
}

TEST(Program, TrainDoesNotOverwriteTheWeightsItStartsFrom) {
  const core::TemporaryFolder folder;
  const std::string recipe = folder.path() / "recipe.toml",
                    weights = folder.path() / "model.safetensors";
  core::write_text_atomic(recipe, "[data]\nsource = \"synthetic\"\n");
  core::write_text_atomic(weights, "weights");
  expect_refusal({"train", recipe, "--out", folder.path(), "--from", weights}, 2,
                 "--out: " + weights + " is an input, so it cannot be the output");
  EXPECT_EQ(core::read_text(weights), "weights");
}

TEST(Program, TrainRefusesABadRecipeAtItsLine) {
  const core::TemporaryFolder folder;
  const std::string recipe = folder.path() / "recipe.toml", out = folder.path() / "run";
  core::write_text_atomic(recipe, "[train]\nepoch = 3\n");
  expect_refusal({"train", recipe, "--out", out}, 2,
                 recipe + ":2: unknown key \"epoch\"; did you mean \"epochs\"?");
  core::write_text_atomic(recipe, "[network]\nexits = [9]\n");
  expect_refusal({"train", recipe, "--out", out}, 2, "\"9\" is beyond resnet18");
  core::write_text_atomic(recipe, "");
  expect_refusal({"train", recipe, "--out", out, "--set", "train.epoch=3"}, 2,
                 "did you mean \"train.epochs\"?");
  expect_refusal({"train", recipe, "--out", out, "--set", "epochs"}, 2, "key=value");
  expect_refusal({"train", recipe, "--out", out, "--data", folder.path() / "none"}, 1, "none");
  EXPECT_FALSE(std::filesystem::exists(out));
}
#endif

}  // namespace
}  // namespace offramp::test
