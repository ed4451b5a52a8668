#include "runtime/tune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/file.h"
#include "graph/network.h"
#include "runtime/convolution.h"
#include "tests/support/graphs.h"
#include "tests/support/random_weights.h"

namespace offramp {
namespace {

namespace fs = std::filesystem;
using testing::IsSubsetOf;
using testing::Optional;

/// A cache in a folder of its own that has not been made yet.
class Cache : public testing::Test {
 protected:
  std::string text() const { return read_text(cache_.file_of(graph_, options_)); }
  void write(const std::string& text) const {
    write_text_atomic(cache_.file_of(graph_, options_), text);
  }
  std::optional<WinogradSet> found() const { return cache_.find(graph_, options_); }

  Graph graph_ = small_resnet();
  CompileOptions options_;
  TemporaryFolder folder_;
  TuneCache cache_{folder_.path() / "a" / "b"};
  const WinogradSet chosen_ = {"layer1.0.relu1", "layer1.1.relu2"};
};

TEST_F(Cache, GivesBackWhatItKept) {
  EXPECT_EQ(found(), std::nullopt);
  cache_.keep(graph_, options_, chosen_);
  EXPECT_THAT(found(), Optional(chosen_));
  cache_.keep(graph_, options_, {});
  EXPECT_THAT(found(), Optional(WinogradSet{}));
}

TEST_F(Cache, IsAskedBeforeAnythingIsTimed) {
  const Tensors weights = random_weights(graph_, 1);
  WeightStore store;
  const WinogradSet first = tuned(graph_, source_of(weights), options_, store, cache_);
  EXPECT_THAT(found(), Optional(first));
  cache_.keep(graph_, options_, chosen_);
  EXPECT_EQ(tuned(graph_, source_of(weights), options_, store, cache_), chosen_);
}

TEST_F(Cache, TellsApartWhatTimesDependOn) {
  cache_.keep(graph_, options_, chosen_);
  CompileOptions other = options_;
  other.threads = 7;
  EXPECT_EQ(cache_.find(graph_, other), std::nullopt);
  other = options_;
  other.precision = Precision::bf16;
  EXPECT_EQ(cache_.find(graph_, other), std::nullopt);
  other = options_;
  other.batches = {4, 1};
  EXPECT_EQ(cache_.find(graph_, other), std::nullopt);
  other.batches = {1};
  EXPECT_THAT(cache_.find(graph_, other), Optional(chosen_));
  EXPECT_EQ(cache_.find(small_vgg(), options_), std::nullopt);
}

TEST_F(Cache, TakesADamagedFileForNone) {
  cache_.keep(graph_, options_, chosen_);
  const std::string whole = text();
  for (std::size_t length = 0; length + 1 < whole.size(); ++length) {
    write(whole.substr(0, length));
    EXPECT_EQ(found(), std::nullopt) << length;
  }
  write("offramp tune 2" + whole.substr(whole.find('\n')));
  EXPECT_EQ(found(), std::nullopt);
  std::string other = whole;
  other.replace(other.find("layer1.0.relu1"), 5, "reyal");  // no such tensor
  write(other);
  EXPECT_EQ(found(), std::nullopt);
  other = whole;
  other[whole.find('\n') + 5] ^= 1;  // of another CPU
  write(other);
  EXPECT_EQ(found(), std::nullopt);
  write(std::string(1 << 21, 'x'));
  EXPECT_EQ(found(), std::nullopt);
  fs::remove(cache_.file_of(graph_, options_));
  fs::create_directory(cache_.file_of(graph_, options_));
  EXPECT_EQ(found(), std::nullopt);
  cache_.keep(graph_, options_, chosen_);  // cannot, and says nothing
  EXPECT_EQ(found(), std::nullopt);
}

TEST_F(Cache, KeepsNothingWithoutAFolder) {
  const TuneCache none(std::nullopt);
  none.keep(graph_, options_, chosen_);
  EXPECT_EQ(none.find(graph_, options_), std::nullopt);
  write_text_atomic(folder_.path() / "file", "");
  const TuneCache inside_a_file(folder_.path() / "file");
  inside_a_file.keep(graph_, options_, chosen_);
  EXPECT_EQ(inside_a_file.find(graph_, options_), std::nullopt);
}

TEST(Tune, ChoosesAmongConvolutionsThatCanBeChosen) {
  NetworkSpec spec;
  spec.options.width = 16;
  spec.exits = {"2"};
  const Graph graph = build_network(spec);
  const Tensors weights = random_weights(graph, 1);
  const CompileOptions options{.precision = Precision::f32, .batches = {2}, .threads = 1};
  WeightStore store;
  const WinogradSet chosen = choose_winograd(graph, source_of(weights), options, store);
  CompileOptions all = options;
  all.winograd = chosen;
  std::vector<std::string> with_winograd;
  for (const CompiledRow& row : compiled_rows(*compile(graph, weights, all, store)))
    if (row.implementation.find("wino") != row.implementation.npos)
      with_winograd.push_back(row.output);
  EXPECT_THAT(chosen, IsSubsetOf(with_winograd));
}

TEST(UserCacheFolder, FollowsTheEnvironment) {
  const auto under = [](const char* cache, const char* home) {
    ::setenv("XDG_CACHE_HOME", cache, 1);
    ::setenv("HOME", home, 1);
    return user_cache_folder();
  };
  EXPECT_THAT(under("/cache", "/home/me"), Optional(fs::path("/cache/offramp")));
  EXPECT_THAT(under("", "/home/me"), Optional(fs::path("/home/me/.cache/offramp")));
  EXPECT_THAT(under("here", "/home/me"), Optional(fs::path("/home/me/.cache/offramp")));
  EXPECT_EQ(under("", ""), std::nullopt);
}

}  // namespace
}  // namespace offramp
