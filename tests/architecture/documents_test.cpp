// Checks that code shown in documents is equal to code that is compiled.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace {

std::string read(const std::string& path) {
  std::ifstream file(std::string(OFFRAMP_ROOT) + "/" + path);
  EXPECT_TRUE(file) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Documents, ShowTheBackboneExampleAsItIsCompiled) {
  const std::string document = read("docs/adding-a-backbone.md");
  const std::string begin = "```cpp\n";
  const std::size_t from = document.find(begin) + begin.size();
  const std::size_t to = document.find("```\n", from);
  ASSERT_NE(to, std::string::npos);
  EXPECT_EQ(document.substr(from, to - from), read("src/graph/backbones/vgg.cpp"));
}

}  // namespace
