// Holds every #include of src/ and include/ against the table of docs/architecture.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Words = std::set<std::string>;

struct Allowed {
  Words folders;           ///< and what these may include, and so on
  Words libraries = {};    ///< beyond the standard library and the operating system
  Words only_in_cpp = {};  ///< libraries that must not show in a header
  /// Headers of the folder that may show these libraries all the same: only its .cpp files and
  /// other private headers may include them.
  Words private_headers = {};
};

// A library is named by the start of its headers' paths.
const std::map<std::string, Allowed> kTable = {
    {"core", {{}, {"fmt/"}, {"nlohmann/", "xxhash.h"}}},
    {"image", {{"core"}, {"fmt/", "jpeglib.h", "jerror.h", "png.h"}}},
    {"graph", {{"core"}, {"fmt/"}}},
    {"data", {{"image"}, {"fmt/", "archive.h", "archive_entry.h", "curl/", "openssl/"}}},
    {"policy", {{"core"}, {"fmt/"}}},
    {"eval", {{"policy"}, {"fmt/"}}},
    {"model", {{"graph", "policy"}, {"fmt/", "nlohmann/"}}},
    {"recipe", {{"graph", "data"}, {"fmt/", "toml++/"}}},
    {"runtime",
     {{"model", "image"},
      {"fmt/"},
      {"oneapi/dnnl/"},
      {"runtime/onednn.h", "runtime/primitive_operation.h", "runtime/packed_weights.h",
       "runtime/convolution.h"}}},
    {"train",
     {{"model", "data", "eval", "recipe"}, {"fmt/", "torch/", "ATen/", "c10/"}, {"nlohmann/"}}},
    {"report", {{"eval", "image"}, {"fmt/"}}},
    {"api", {{"runtime"}, {"fmt/"}}},
    {"serve", {{"runtime"}, {"fmt/", "httplib.h"}}},
    {"workflow", {{"core"}}},
    {"cli",
     {{"train", "runtime", "report", "serve", "workflow"},
      {"fmt/", "nlohmann/", "CLI/", "spdlog/"}}},
};

// The operating system and the compiler.
const Words kSystem = {"unistd.h", "fcntl.h", "malloc.h", "signal.h",    "poll.h",     "sched.h",
                       "dlfcn.h",  "cpuid.h", "omp.h",    "immintrin.h", "sys/",       "netinet/",
                       "arpa/",    "linux/",  "netdb.h",  "termios.h",   "x86intrin.h"};

bool matches(const Words& beginnings, const std::string& path) {
  for (const std::string& beginning : beginnings)
    if (beginning.back() == '/' ? path.starts_with(beginning) : path == beginning) return true;
  return false;
}

/// The folder itself and all that it may include, directly or through others.
Words reachable(const std::string& folder) {
  Words found = {folder};
  for (const std::string& next : kTable.at(folder).folders) found.merge(reachable(next));
  return found;
}

/// What is wrong with one #include of `file` ("graph/cost.cpp"); empty if nothing is.
std::string judge(const std::string& file, const std::string& path, bool quoted) {
  const std::string folder = file.substr(0, file.find('/'));
  const auto row = kTable.find(folder);
  if (row == kTable.end()) return "the folder is not in the table";
  // A library that is for .cpp files, and private headers that show it.
  const bool may_show = file.ends_with(".cpp") || row->second.private_headers.contains(file);
  if (quoted) {
    if (path.find('/') == std::string::npos || path.starts_with("."))
      return "an include starts at the root of src/";
    const std::string target = path.substr(0, path.find('/'));
    if (!kTable.contains(target) && target != "offramp") return "there is no such folder";
    if (target != "offramp" && !reachable(folder).contains(target))
      return folder + " may not include " + target;
    const auto owner = kTable.find(target);
    if (owner != kTable.end() && owner->second.private_headers.contains(path) &&
        !(folder == target && may_show))
      return "this header is private to " + target;
    return {};
  }
  const bool standard = path.find_first_of("./") == std::string::npos;
  if (standard || matches(kSystem, path) || matches(row->second.libraries, path)) return {};
  if (!matches(row->second.only_in_cpp, path)) return folder + " may not include this library";
  return may_show ? "" : "this library must not show in a header of " + folder;
}

/// Judges all of a file: "<file>:<line>: #include <path>: <what is wrong>" for each bad one.
std::vector<std::string> violations(const std::string& file, const std::string& text) {
  static const std::regex pattern(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)re");
  std::vector<std::string> found;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::smatch match;
    if (!std::regex_match(line, match, pattern)) continue;
    const std::string wrong = judge(file, match[2], match[1] == "\"");
    if (!wrong.empty())
      found.push_back(file + ":" + std::to_string(number) + ": #include " + match[2].str() + ": " +
                      wrong);
  }
  return found;
}

/// Calls visit(path relative to `root`, text) for every source file below it; returns how many.
template <typename Visit>
int each_source(const fs::path& root, const Visit& visit) {
  int count = 0;
  if (!fs::exists(root)) return 0;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string extension = entry.path().extension();
    if (extension != ".h" && extension != ".cpp" && extension != ".in") continue;
    std::ifstream file(entry.path());
    std::stringstream text;
    text << file.rdbuf();
    visit(fs::relative(entry.path(), root).string(), text.str());
    ++count;
  }
  return count;
}

TEST(IncludeDirection, IsKeptByEverySource) {
  std::vector<std::string> all;
  const int count =
      each_source(fs::path(OFFRAMP_ROOT) / "src", [&](const auto& file, const auto& text) {
        for (std::string& one : violations(file, text)) all.push_back(std::move(one));
      });
  EXPECT_GT(count, 30) << "the sources were not found";
  std::string listed;
  for (const std::string& one : all) listed += "  src/" + one + "\n";
  EXPECT_TRUE(all.empty()) << listed << "docs/architecture.md has the table.";
}

TEST(IncludeDirection, LetsPublicHeadersIncludeOnlyTheStandardLibraryAndEachOther) {
  const std::regex pattern(R"re(#\s*include\s*([<"][^>"]+[>"]))re");
  const std::regex allowed(R"re(<[a-z_0-9]+>|<std(int|def)\.h>|["<]offramp/[a-z_]+\.h[">])re");
  each_source(fs::path(OFFRAMP_ROOT) / "include", [&](const auto& file, const auto& text) {
    for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it)
      EXPECT_TRUE(std::regex_match((*it)[1].str(), allowed)) << file << " includes " << (*it)[1];
  });
}

TEST(IncludeDirection, AcceptsWhatTheTableAllows) {
  EXPECT_THAT(violations("graph/x.cpp",
                         "#include <vector>\n#include \"core/error.h\"\n#include \"graph/y.h\"\n"
                         "// #include <torch/torch.h>\n"),
              testing::IsEmpty());
  EXPECT_THAT(violations("data/x.cpp", "#include <archive.h>\n#include \"core/file.h\"\n"),
              testing::IsEmpty());
  EXPECT_THAT(violations("cli/x.cpp", "#include \"core/file.h\"\n#include \"train/trainer.h\"\n"),
              testing::IsEmpty());
}

TEST(IncludeDirection, RefusesEveryOtherEdge) {
  EXPECT_THAT(
      violations("core/x.cpp", "\n#include \"graph/graph.h\"\n"),
      testing::ElementsAre("core/x.cpp:2: #include graph/graph.h: core may not include graph"));
  EXPECT_THAT(violations("graph/heads/x.cpp", "#include \"train/network.h\""),
              testing::ElementsAre("graph/heads/x.cpp:1: #include train/network.h: graph may not "
                                   "include train"));
  EXPECT_THAT(violations("policy/x.h", "#include \"eval/metrics.h\""),
              testing::ElementsAre("policy/x.h:1: #include eval/metrics.h: policy may not include "
                                   "eval"));
  EXPECT_THAT(violations("model/x.cpp", "  #  include <torch/torch.h>  // why not"),
              testing::ElementsAre("model/x.cpp:1: #include torch/torch.h: model may not include "
                                   "this library"));
  EXPECT_THAT(violations("train/x.cpp", "#include <oneapi/dnnl/dnnl.hpp>"),
              testing::ElementsAre("train/x.cpp:1: #include oneapi/dnnl/dnnl.hpp: train may not "
                                   "include this library"));
  EXPECT_THAT(violations("cli/x.cpp", "#include <torch/torch.h>"),
              testing::ElementsAre("cli/x.cpp:1: #include torch/torch.h: cli may not include this "
                                   "library"));
  EXPECT_THAT(violations("core/x.h", "#include <nlohmann/json.hpp>"),
              testing::ElementsAre("core/x.h:1: #include nlohmann/json.hpp: this library must not "
                                   "show in a header of core"));
}

TEST(IncludeDirection, KeepsOneDnnOutOfEveryHeaderThatOthersSee) {
  const std::string library = "#include <oneapi/dnnl/dnnl.hpp>";
  EXPECT_THAT(violations("runtime/x.cpp", library), testing::IsEmpty());
  EXPECT_THAT(violations("runtime/onednn.h", library), testing::IsEmpty());
  EXPECT_THAT(violations("runtime/stream.h", library),
              testing::ElementsAre("runtime/stream.h:1: #include oneapi/dnnl/dnnl.hpp: this "
                                   "library must not show in a header of runtime"));
  const std::string header = "#include \"runtime/onednn.h\"";
  EXPECT_THAT(violations("runtime/x.cpp", header), testing::IsEmpty());
  EXPECT_THAT(violations("runtime/convolution.h", header), testing::IsEmpty());
  EXPECT_THAT(violations("runtime/stream.h", header),
              testing::ElementsAre("runtime/stream.h:1: #include runtime/onednn.h: this header is "
                                   "private to runtime"));
  EXPECT_THAT(violations("api/x.cpp", header),
              testing::ElementsAre(
                  "api/x.cpp:1: #include runtime/onednn.h: this header is private to runtime"));
}

TEST(IncludeDirection, RefusesFoldersAndPathsItDoesNotKnow) {
  EXPECT_THAT(
      violations("fresh/x.cpp", "#include <vector>"),
      testing::ElementsAre("fresh/x.cpp:1: #include vector: the folder is not in the table"));
  EXPECT_THAT(
      violations("graph/x.cpp", "#include \"utils/misc.h\""),
      testing::ElementsAre("graph/x.cpp:1: #include utils/misc.h: there is no such folder"));
  EXPECT_THAT(
      violations("graph/x.cpp", "#include \"graph.h\"\n#include \"../core/error.h\""),
      testing::ElementsAre(
          "graph/x.cpp:1: #include graph.h: an include starts at the root of src/",
          "graph/x.cpp:2: #include ../core/error.h: an include starts at the root of src/"));
}

}  // namespace
