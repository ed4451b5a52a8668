#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "core/file.h"
#include "tests/cli/program.h"

namespace offramp::test {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::IsSubsetOf;
using testing::UnorderedElementsAre;

/// Completes the last word of a command line in bash, with the script of this build.
class Completion : public testing::Test {
 protected:
  Completion() {
    const ProgramResult printed = offramp({"completion", "bash"});
    EXPECT_EQ(printed.status, 0) << printed.err;
    core::write_text_atomic(script, printed.out);
    core::write_text_atomic(folder.path() / "my model.safetensors", "x");
  }

  std::vector<std::string> complete(const std::vector<std::string>& words) const {
    std::string line = "source '" + script + "'; COMP_WORDS=(";
    for (const std::string& word : words) line += " '" + word + "'";
    line += " ); COMP_CWORD=" + std::to_string(words.size() - 1) +
            "; _offramp; printf '%s\\n' \"${COMPREPLY[@]}\"";
    const ProgramResult ended =
        offramp({"-c", line}, {.folder = folder.path(), .program = "/bin/bash"});
    EXPECT_EQ(ended.status, 0);
    EXPECT_EQ(ended.err, "");
    std::vector<std::string> found;
    std::istringstream lines(ended.out);
    for (std::string one; std::getline(lines, one);)
      if (!one.empty()) found.push_back(one);
    return found;
  }

  core::TemporaryFolder folder;
  std::string script = folder.path() / "offramp.bash";
};

TEST_F(Completion, ListsCommandsAndTheirSubcommands) {
  EXPECT_THAT(complete({"offramp", "c"}),
              UnorderedElementsAre("classify", "calibrate", "completion"));
  EXPECT_THAT(complete({"offramp", "data", ""}),
              UnorderedElementsAre("fetch", "import", "info", "export"));
  EXPECT_THAT(complete({"offramp", "data", "export", "--cor"}), ElementsAre("--corrupt"));
}

TEST_F(Completion, ListsEveryFlagThatHelpNames) {
  for (const char* command :
       {"test", "classify", "calibrate", "quantize", "report", "bench", "info"}) {
    std::vector<std::string> in_help;
    std::istringstream help(offramp({command, "--help"}).out);
    for (std::string line; std::getline(help, line);) {
      const std::size_t dashes = line.find("--"), end = line.find_first_of(" ,", dashes);
      if (dashes < 8 && dashes != line.npos) in_help.push_back(line.substr(dashes, end - dashes));
    }
    ASSERT_THAT(in_help, Contains("--help")) << command;
    EXPECT_THAT(in_help, IsSubsetOf(complete({"offramp", command, "--"}))) << command;
  }
}

TEST_F(Completion, ListsTheWordsThatAFlagAccepts) {
  EXPECT_THAT(complete({"offramp", "test", "m", "--part", ""}),
              UnorderedElementsAre("test", "tune", "certify"));
  EXPECT_THAT(complete({"offramp", "calibrate", "m", "--cost", "m"}),
              UnorderedElementsAre("macs", "ms"));
}

TEST_F(Completion, CompletesFilesElsewhere) {
  EXPECT_THAT(complete({"offramp", "test", "my"}), ElementsAre("my model.safetensors"));
}

TEST_F(Completion, RefusesAnUnknownShell) {
  const ProgramResult ended = offramp({"completion", "fish"});
  EXPECT_EQ(ended.status, 2);
  EXPECT_EQ(ended.err,
            "offramp: shell: expected one of bash; got \"fish\"; see offramp completion --help\n");
}

#ifdef OFFRAMP_WITH_TRAIN
TEST_F(Completion, AsksTheTrainingProgramForItsFlags) {
  EXPECT_THAT(complete({OFFRAMP_PROGRAM, "train", "--im"}), ElementsAre("--image-size"));
  EXPECT_THAT(complete({OFFRAMP_PROGRAM, "exits", "--the"}), ElementsAre("--then"));
}
#endif

}  // namespace
}  // namespace offramp::test
