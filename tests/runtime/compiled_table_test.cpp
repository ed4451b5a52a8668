#include "runtime/compiled_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/random_weights.h"
#include "runtime/activation_ranges.h"
#include "runtime/kernels_name.h"
#include "tests/support/graphs.h"
#include "tests/support/imagenet_graphs.h"

namespace offramp::runtime {
namespace {

using testing::HasSubstr;

/// Counts the rows of each kind of operation, without its attributes.
std::map<std::string, int> kinds_of(const CompiledTable& table) {
  std::map<std::string, int> counts;
  for (const auto& row : table.rows) ++counts[row.kind.substr(0, row.kind.find_first_of(" ,"))];
  return counts;
}

class Published : public testing::TestWithParam<Precision> {};

// What a fast run needs: every batch norm and activation in a convolution, no tensor in a format
// that the next operation cannot read.
TEST_P(Published, NetworksRunWithoutNeedlessOperations) {
  if (!has_instructions_for(GetParam())) GTEST_SKIP() << "this CPU lacks the instructions";
  const auto compiled = [&](const graph::Graph& graph) {
    const core::Tensors weights = graph::random_weights(graph, 1);
    CompiledTableOptions options{GetParam(), 1, 4, {}};
    if (GetParam() == Precision::int8)
      options.ranges = observe_ranges(graph, weights, graph::random_images(graph, 2, 2), 1);
    const CompiledTable table = compiled_table(graph, weights, options);
    for (const auto& row : table.rows)
      EXPECT_THAT(row.implementation, testing::Not(HasSubstr("ref"))) << row.output;
    return kinds_of(table);
  };
  using Counts = std::map<std::string, int>;
  EXPECT_EQ(compiled(resnet50_graph(64)),
            (Counts{{"conv", 53}, {"max_pool", 1}, {"global_avg_pool", 1}, {"linear", 1}}));
  EXPECT_EQ(compiled(mobilenet_v3_large_graph(64)),
            (Counts{{"conv", 46}, {"global_avg_pool", 9}, {"linear", 18}, {"multiply", 8}}));
  EXPECT_EQ(compiled(efficientnet_b0_graph(64)),
            (Counts{{"conv", 49}, {"global_avg_pool", 17}, {"linear", 33}, {"multiply", 16}}));
  EXPECT_EQ(compiled(shufflenet_v2_graph(64)), (Counts{{"conv", 56},
                                                       {"max_pool", 1},
                                                       {"slice", 26},
                                                       {"concat", 16},
                                                       {"channel_shuffle", 16},
                                                       {"global_avg_pool", 1},
                                                       {"linear", 1}}));
}

INSTANTIATE_TEST_SUITE_P(Precisions, Published,
                         testing::Values(Precision::f32, Precision::bf16, Precision::int8));

TEST(CompiledTable, ListsWhatRunsInItsOrder) {
  const graph::Graph graph = small_resnet();
  const CompiledTable table =
      compiled_table(graph, graph::random_weights(graph, 1), {Precision::f32, 0, 4, {}});
  EXPECT_EQ(table.precision, "f32");
  EXPECT_EQ(table.batch, 4);
  EXPECT_EQ(table.threads, 1);
  ASSERT_FALSE(table.rows.empty());
  EXPECT_EQ(table.rows.front().segment, "1");
  EXPECT_THAT(table.rows.front().kind, HasSubstr("conv 3x3"));
  EXPECT_EQ(table.rows.back().segment, "3 head");
  EXPECT_EQ(table.rows.back().kind, "linear");
  EXPECT_EQ(table.rows.back().dst, "f32 [10]");
  int convolutions = 0;
  for (const auto& row : table.rows) {
    convolutions += row.kind.starts_with("conv");
    EXPECT_FALSE(row.implementation.empty());
  }
  EXPECT_EQ(convolutions, 20);
  // The size in f32 of the weights and biases of 20 convolutions.
  EXPECT_GT(table.weight_bytes, 100000u);
  EXPECT_GT(table.workspace_bytes, 4 * 4 * 32 * 32 * sizeof(float));
}

TEST(CompiledTable, FollowsTheCpu) {
  const graph::Graph graph = small_resnet();
  const CompiledTable table =
      compiled_table(graph, graph::random_weights(graph, 1), {Precision::bf16, 2, 1, {}});
  EXPECT_EQ(table.precision, has_instructions_for(Precision::bf16) ? "bf16" : "f32");
  EXPECT_EQ(table.threads, 2);
}

TEST(KernelsName, NamesLibraryVersionAndInstructions) {
  EXPECT_THAT(
      kernels_name(),
      testing::MatchesRegex("onednn [0-9]+\\.[0-9]+\\.[0-9]+ [a-z0-9_]+(, loops without fma)?"));
}

}  // namespace
}  // namespace offramp::runtime
