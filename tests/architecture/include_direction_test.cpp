// Checks every #include of src/ and include/ against the table of docs/architecture.md.
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
  Words folders;  ///< folders it may include, with those that these may include
  Words libraries =
      {};  ///< libraries it may include; the standard library and the system are always allowed
  Words only_in_cpp = {};  ///< libraries that only .cpp files may include
  /// Not empty: of the folders that `folders` may include, only these headers may be included.
  Words headers = {};
  /// Headers of the folder that may include only_in_cpp libraries. Only .cpp files of the folder
  /// and other private headers may include these headers.
  Words private_headers = {};
};

// A library is written as the first part of the paths of its headers.
const std::map<std::string, Allowed> kTable = {
    {"core", {{}, {"fmt/"}, {"nlohmann/", "xxhash.h"}}},
    {"image", {{"core"}, {"fmt/", "jpeglib.h", "jerror.h", "png.h", "turbojpeg.h", "webp/"}}},
    {"graph", {{"core"}, {"fmt/"}}},
    {"data",
     {{"image"}, {"fmt/", "archive.h", "archive_entry.h", "curl/", "openssl/"}, {"nlohmann/"}}},
    {"policy", {{"core"}, {"fmt/", "boost/math/"}}},
    {"eval", {{"policy"}, {"fmt/"}}},
    {"model", {{"graph", "policy"}, {"fmt/", "nlohmann/"}}},
    {"onnx",
     {{"model"},
      {"fmt/"},
      {"onnx.pb.h", "google/protobuf/"},
      {},
      {"onnx/schema.h", "onnx/tensor_data.h", "onnx/node_view.h", "onnx/node_writer.h",
       "onnx/operators.h", "onnx/operators/bins.h", "onnx/operators/window.h", "onnx/evaluator.h",
       "onnx/finish_network.h", "onnx/open_model.h"}}},
    {"recipe", {{"graph", "data"}, {"fmt/", "toml++/"}}},
    {"runtime",
     {{"model", "image"},
      {"fmt/"},
      {"oneapi/dnnl/"},
      {},
      {"runtime/onednn.h", "runtime/onednn_operation.h", "runtime/packed_weights.h",
       "runtime/convolution.h"}}},
    {"engine", {{"runtime"}, {"fmt/"}}},
    {"workflow", {{"engine", "data", "eval", "onnx", "recipe", "report"}, {"fmt/"}, {"nlohmann/"}}},
    {"train", {{"workflow"}, {"fmt/", "torch/", "ATen/", "c10/"}}},
    {"report", {{"eval", "image"}, {"fmt/"}}},
    {"api", {{"engine"}, {"fmt/"}}},
    {"serve",
     {{"api"}, {"fmt/", "nlohmann/"}, {"boost/asio/", "boost/beast/", "prometheus/", "toml++/"}}},
    {"cli",
     {{"core", "workflow", "serve"},
      {"fmt/", "nlohmann/", "CLI/"},
      {},
      {"data/fetch.h", "data/import_shards.h", "image/image.h", "image/signature.h",
       "policy/criteria.h", "report/report.h", "report/exit_places.h"}}},
    {"train_cli", {{"cli", "train"}, {"fmt/", "CLI/"}}},
};

// The first parts of header paths of the operating system and the compiler.
const Words kSystem = {"unistd.h", "fcntl.h", "malloc.h", "signal.h",    "poll.h",     "sched.h",
                       "dlfcn.h",  "cpuid.h", "omp.h",    "immintrin.h", "sys/",       "netinet/",
                       "arpa/",    "linux/",  "netdb.h",  "termios.h",   "x86intrin.h"};

bool matches(const Words& beginnings, const std::string& path) {
  for (const std::string& beginning : beginnings)
    if (beginning.back() == '/' ? path.starts_with(beginning) : path == beginning) return true;
  return false;
}

/// Returns the folder itself and all folders that it may include, directly or through others.
Words reachable(const std::string& folder) {
  Words found = {folder};
  for (const std::string& next : kTable.at(folder).folders) found.merge(reachable(next));
  return found;
}

/// True if a file of `folder` may include `path`, such as "graph/cost.h".
bool may_include(const std::string& folder, const std::string& path) {
  const Allowed& row = kTable.at(folder);
  const std::string target = path.substr(0, path.find('/'));
  if (target == folder) return true;
  if (row.headers.empty()) return reachable(folder).contains(target);
  return row.folders.contains(target) || row.headers.contains(path);
}

/// Describes what is wrong with one #include of `file`, such as "graph/cost.cpp"; empty if it is
/// allowed.
std::string include_error(const std::string& file, const std::string& path, bool quoted) {
  const std::string folder = file.substr(0, file.find('/'));
  const auto row = kTable.find(folder);
  if (row == kTable.end()) return "the folder is not in the table";
  // Libraries for .cpp files only, and the private headers that may include them too.
  const bool may_show = file.ends_with(".cpp") || row->second.private_headers.contains(file);
  if (quoted) {
    if (path.find('/') == std::string::npos || path.starts_with("."))
      return "an include starts at the root of src/";
    const std::string target = path.substr(0, path.find('/'));
    if (!kTable.contains(target) && target != "offramp") return "there is no such folder";
    if (target != "offramp" && !may_include(folder, path))
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

/// Checks all includes of a file; each that is not allowed gives one line,
/// "<file>:<line>: #include <path>: <what is wrong>".
std::vector<std::string> violations(const std::string& file, const std::string& text) {
  static const std::regex pattern(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)re");
  std::vector<std::string> found;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::smatch match;
    if (!std::regex_match(line, match, pattern)) continue;
    const std::string wrong = include_error(file, match[2], match[1] == "\"");
    if (!wrong.empty())
      found.push_back(file + ":" + std::to_string(number) + ": #include " + match[2].str() + ": " +
                      wrong);
  }
  return found;
}

/// Calls visit(path relative to `root`, text) for every source file below `root`; returns the
/// number of files.
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

/// Reads a row of the table in docs/architecture.md, which lists folders by name and single headers
/// in backticks.
struct DocumentedRow {
  Words folders, headers;
};

std::map<std::string, DocumentedRow> documented_rows() {
  std::ifstream file(fs::path(OFFRAMP_ROOT) / "docs" / "architecture.md");
  std::map<std::string, DocumentedRow> rows;
  const std::regex row(R"(\| `([a-z_]+)` \|[^|]*\|([^|]*)\|[^|]*\|)"),
      word(R"(`([^`]+)`|([a-z_]+))");
  std::string line;
  while (std::getline(file, line) && line.rfind("| folder | holds |", 0) != 0) {
  }
  while (std::getline(file, line) && !line.empty()) {
    std::smatch match;
    if (!std::regex_match(line, match, row)) continue;
    DocumentedRow& documented = rows[match[1]];
    const std::string allowed = match[2];
    for (std::sregex_iterator it(allowed.begin(), allowed.end(), word), end; it != end; ++it)
      ((*it)[1].matched ? documented.headers : documented.folders)
          .insert((*it)[1].matched ? (*it)[1] : (*it)[2]);
  }
  return rows;
}

TEST(IncludeDirection, IsWhatTheDocumentsSay) {
  const auto rows = documented_rows();
  EXPECT_GT(rows.size(), 10u) << "the table was not found";
  for (const auto& [folder, row] : rows) {
    SCOPED_TRACE(folder);
    ASSERT_TRUE(kTable.contains(folder));
    EXPECT_EQ(row.folders, kTable.at(folder).folders);
    EXPECT_EQ(row.headers, kTable.at(folder).headers);
  }
  for (const auto& [folder, allowed] : kTable) EXPECT_TRUE(rows.contains(folder)) << folder;
}

TEST(IncludeDirection, LetsPublicHeadersIncludeOnlyTheStandardLibraryAndEachOther) {
  const std::regex pattern(R"re(#\s*include\s*([<"][^>"]+[>"]))re");
  const std::regex allowed(R"re(<[a-z_0-9]+>|<std(int|def)\.h>|["<]offramp/[a-z_]+\.h[">])re");
  const int count =
      each_source(fs::path(OFFRAMP_ROOT) / "include", [&](const auto& file, const auto& text) {
        for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it)
          EXPECT_TRUE(std::regex_match((*it)[1].str(), allowed))
              << file << " includes " << (*it)[1];
      });
  EXPECT_GE(count, 5) << "the headers were not found";
}

TEST(IncludeDirection, AcceptsWhatTheTableAllows) {
  EXPECT_THAT(violations("graph/x.cpp",
                         "#include <vector>\n#include \"core/error.h\"\n#include \"graph/y.h\"\n"
                         "// #include <torch/torch.h>\n"),
              testing::IsEmpty());
  EXPECT_THAT(violations("data/x.cpp", "#include <archive.h>\n#include \"core/file.h\"\n"),
              testing::IsEmpty());
  EXPECT_THAT(violations("cli/x.cpp",
                         "#include \"workflow/evaluate.h\"\n#include \"core/file.h\"\n#include "
                         "\"policy/criteria.h\"\n#include \"offramp/session.h\"\n"),
              testing::IsEmpty());
  EXPECT_THAT(
      violations("train_cli/x.cpp", "#include \"core/file.h\"\n#include \"train/trainer.h\"\n"),
      testing::IsEmpty());
}

TEST(IncludeDirection, RefusesEveryOtherEdge) {
  EXPECT_THAT(
      violations("core/x.cpp", "\n#include \"graph/graph.h\"\n"),
      testing::ElementsAre("core/x.cpp:2: #include graph/graph.h: core may not include graph"));
  EXPECT_THAT(violations("graph/heads/x.cpp", "#include \"train/network.h\""),
              testing::ElementsAre("graph/heads/x.cpp:1: #include train/network.h: graph may not "
                                   "include train"));
  // The command line may include the calls that return results, but not the folders below them.
  for (const std::string path : {"runtime/compile.h", "engine/runner.h", "eval/metrics.h",
                                 "model/model_file.h", "policy/calibration.h", "data/dataset.h"})
    EXPECT_THAT(violations("cli/x.cpp", "#include \"" + path + "\""),
                testing::ElementsAre("cli/x.cpp:1: #include " + path + ": cli may not include " +
                                     path.substr(0, path.find('/'))));
  EXPECT_THAT(violations("workflow/x.cpp", "#include <CLI/CLI.hpp>\n#include \"cli/terminal.h\""),
              testing::ElementsAre(
                  "workflow/x.cpp:1: #include CLI/CLI.hpp: workflow may not include this library",
                  "workflow/x.cpp:2: #include cli/terminal.h: workflow may not include cli"));
  EXPECT_THAT(violations("cli/x.cpp", "#include \"train/run.h\""),
              testing::ElementsAre("cli/x.cpp:1: #include train/run.h: cli may not include train"));
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
  EXPECT_THAT(
      violations("runtime/refill_batcher.h", library),
      testing::ElementsAre("runtime/refill_batcher.h:1: #include oneapi/dnnl/dnnl.hpp: this "
                           "library must not show in a header of runtime"));
  const std::string header = "#include \"runtime/onednn.h\"";
  EXPECT_THAT(violations("runtime/x.cpp", header), testing::IsEmpty());
  EXPECT_THAT(violations("runtime/convolution.h", header), testing::IsEmpty());
  EXPECT_THAT(
      violations("runtime/refill_batcher.h", header),
      testing::ElementsAre("runtime/refill_batcher.h:1: #include runtime/onednn.h: this header is "
                           "private to runtime"));
  EXPECT_THAT(violations("api/x.cpp", header),
              testing::ElementsAre(
                  "api/x.cpp:1: #include runtime/onednn.h: this header is private to runtime"));
}

TEST(IncludeDirection, RefusesUnknownFoldersAndPaths) {
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
