#include "runtime/compiled_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/random_weights.h"
#include "runtime/kernels_name.h"
#include "tests/support/graphs.h"

namespace offramp::runtime {
namespace {

using testing::HasSubstr;

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
  EXPECT_THAT(kernels_name(), testing::MatchesRegex("onednn [0-9]+\\.[0-9]+\\.[0-9]+ [a-z0-9_]+"));
}

}  // namespace
}  // namespace offramp::runtime
