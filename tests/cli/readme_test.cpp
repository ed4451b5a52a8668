// Runs the commands of README.md and of docs/your-own-images.md on few images.
// tests/api/documents_test.cpp compiles the README's C++ example.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "core/file.h"
#include "data/synthetic.h"
#include "recipe/recipe.h"
#include "tests/cli/program.h"
#include "tests/support/image_files.h"

namespace offramp::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Returns the lines of the first code block after a heading.
std::vector<std::string> block_after(const std::string& heading) {
  std::vector<std::string> block;
  bool found = false, inside = false;
  for (const std::string& line :
       lines_of(core::read_text(fs::path(OFFRAMP_SOURCE) / "README.md"))) {
    if (line == heading) found = true;
    if (!found) continue;
    if (line.starts_with("```")) {
      if (inside) break;
      inside = true;
    } else if (inside) {
      block.push_back(line);
    }
  }
  return block;
}

/// Splits a command into words and drops its comment.
std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream stream(line.substr(0, line.find('#')));
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

/// A folder like that of a reader of the README: images in `data`, recipes in `configs`.
class Readme : public testing::Test {
 protected:
  Readme() {
    for (const auto& [part, name, count] :
         {std::tuple(data::Part::train, "train", 300), std::tuple(data::Part::test, "test", 50)}) {
      const data::Dataset set = data::synthetic_data(32, 32, count, part, 1, 10);
      for (std::int64_t i = 0; i < count; ++i) {
        const auto pixels = set.image(i);
        const fs::path path =
            root_ / "data" / name /
            set.classes[static_cast<std::size_t>(set.labels[static_cast<std::size_t>(i)])] /
            fmt::format("{}.jpg", i);
        fs::create_directories(path.parent_path());
        write_bytes(path, encode_jpeg({32, 32, {pixels.begin(), pixels.end()}}));
        if (part == data::Part::test && i < 3) {
          fs::copy_file(path, root_ / fmt::format("{}.jpg", i));
          pictures_.push_back(fmt::format("{}.jpg", i));
        }
      }
    }
    fs::create_directory_symlink(fs::path(OFFRAMP_SOURCE) / "configs", root_ / "configs");
  }

  ProgramResult run(std::vector<std::string> words) {
    if (words[0] == "train") {  // as written, but small
      for (const char* word : {"--width", "4", "--epochs", "1", "--set", "train.batch=16"})
        words.push_back(word);
      if (std::ranges::find(words, "--data") == words.end())
        words.insert(words.end(), {"--data", "data"});
    }
    if (const auto star = std::ranges::find(words, "*.jpg"); star != words.end())
      words.insert(words.erase(star), pictures_.begin(), pictures_.end());
    return offramp(words, {.folder = root_});
  }

  core::TemporaryFolder folder_;
  fs::path root_ = folder_.path();
  std::vector<std::string> pictures_;
};

TEST_F(Readme, ItsCommandsRunOneAfterTheOther) {
  // A later command adds exits to this network.
  ASSERT_EQ(run({"train", "configs/cifar10-plain.toml", "--out", "plain"}).status, 0);
  fs::copy_file(root_ / "plain/model.safetensors", root_ / "plain.safetensors");
  int count = 0;
  for (const std::string& line : block_after("## From images to a deployed model")) {
    std::vector<std::string> words = words_of(line);
    if (words.empty()) continue;
    ASSERT_EQ(words[0], "offramp") << line;
    words.erase(words.begin());
    ++count;
    if (words[0] == "data" && words[1] == "fetch") continue;  // tests/data/fetch_test.cpp
    const ProgramResult ended = run(words);
    // On a CPU without 8-bit instructions quantize fails, so its file does not exist.
    if (ended.err.find("this CPU has no instructions") != ended.err.npos) continue;
    if (line.find(".int8.") != line.npos &&
        !fs::exists(root_ / "runs/cifar10/model.int8.safetensors"))
      continue;
    EXPECT_EQ(ended.status, 0) << line << "\n" << ended.err;
  }
  EXPECT_GE(count, 7);
}

/// Returns all lines in code blocks of a document that start with "offramp".
std::vector<std::string> commands_in(const fs::path& document) {
  std::vector<std::string> commands;
  bool inside = false;
  for (const std::string& line : lines_of(core::read_text(document))) {
    if (line.starts_with("```")) inside = !inside;
    if (inside && line.starts_with("offramp ")) commands.push_back(line);
  }
  return commands;
}

TEST(Walkthrough, ItsCommandsRunOneAfterTheOther) {
  const core::TemporaryFolder folder;
  const fs::path root = folder.path();
  fs::create_directory_symlink(fs::path(OFFRAMP_SOURCE) / "configs", root / "configs");
  const auto commands = commands_in(fs::path(OFFRAMP_SOURCE) / "docs/your-own-images.md");
  for (const std::string& line : commands) {
    std::vector<std::string> words = words_of(line);
    words.erase(words.begin());
    for (const char* many : {"400", "100"}) std::ranges::replace(words, std::string(many), "26");
    if (words[0] == "train")  // as written, but small
      for (const char* word : {"--width", "4", "--epochs", "1", "--set", "train.batch=16"})
        words.push_back(word);
    if (words[0] == "bench") words.insert(words.end(), {"--seconds", "0.02"});
    const ProgramResult ended = offramp(words, {.folder = root});
    if (ended.err.find("this CPU has no instructions") != ended.err.npos)
      GTEST_SKIP() << "no int8 here: " << ended.err;
    ASSERT_EQ(ended.status, 0) << line << "\n" << ended.err;
  }
  EXPECT_GE(commands.size(), 11u);
  EXPECT_TRUE(fs::exists(root / "photos.html"));
}

}  // namespace
}  // namespace offramp::test
