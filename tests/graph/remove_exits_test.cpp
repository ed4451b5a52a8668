#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "graph/cost.h"
#include "graph/graph.h"
#include "graph/network_spec.h"
#include "tests/support/graphs.h"

namespace offramp::graph {
namespace {

using testing::ElementsAre;
using testing::StartsWith;
using testing::ThrowsMessage;

const std::vector<std::vector<int>> kDrops = {{}, {0}, {1}, {0, 1}};

/// Returns the segments of a graph that end in exit k.
int segment_of(const Graph& graph, int exit_index) {
  return exit_segments(graph)[static_cast<std::size_t>(exit_index)];
}

TEST(RemoveExits, LeavesParametersInTheirOrder) {
  for (const Graph& graph : example_graphs())
    for (const std::vector<int>& dropped : kDrops) {
      SCOPED_TRACE(graph.name + testing::PrintToString(dropped));
      std::vector<std::vector<std::int64_t>> expected, got;
      for (const Parameter& parameter : parameters(graph)) {
        const bool goes = parameter.in_head && std::ranges::any_of(dropped, [&](int k) {
                            return segment_of(graph, k) == parameter.segment;
                          });
        if (!goes) expected.push_back(parameter.shape);
      }
      for (const Parameter& parameter : parameters(remove_exits(graph, dropped)))
        got.push_back(parameter.shape);
      EXPECT_EQ(got, expected);
    }
}

TEST(RemoveExits, RenumbersTheRemainingHeads) {
  for (const Graph& graph : example_graphs()) {
    SCOPED_TRACE(graph.name);
    const Graph left = remove_exits(graph, {0});
    ASSERT_EQ(exit_segments(left).size(), 2u);
    for (const Node& node : left.segments[0].head) EXPECT_THAT(node.name, StartsWith("exits.1."));
    // The head has the same operations and connections as exit 2 had.
    const auto& before = graph.segments[static_cast<std::size_t>(segment_of(graph, 1))].head;
    ASSERT_EQ(left.segments[0].head.size(), before.size());
    for (std::size_t i = 0; i < before.size(); ++i)
      EXPECT_EQ(left.segments[0].head[i].op, before[i].op);
    EXPECT_EQ(left.segments.back().head, graph.segments.back().head);
  }
}

TEST(RemoveExits, JoinsTheSegmentsThatEndedThere) {
  const Graph graph = two_scale();
  const Graph left = remove_exits(graph, {0});
  ASSERT_EQ(left.segments.size(), 2u);
  EXPECT_EQ(left.segments[0].name, "first to second");
  EXPECT_EQ(left.segments[0].outputs, graph.segments[1].outputs);
  EXPECT_EQ(left.segments[0].feature, graph.segments[1].feature);
  EXPECT_EQ(left.segments[0].nodes.size(),
            graph.segments[0].nodes.size() + graph.segments[1].nodes.size());
  EXPECT_EQ(remove_exits(graph, {0, 1}).segments[0].name, "first to third");
}

TEST(RemoveExits, KeepsSegmentsThatNeverHadAHead) {
  Graph graph = two_scale();
  graph.segments[0].head.clear();
  const Graph left = remove_exits(graph, {});
  EXPECT_EQ(left.segments.size(), 3u);
  const Graph none = remove_exits(graph, {0});
  ASSERT_EQ(none.segments.size(), 2u);  // "first" ends at the same node as before
  EXPECT_EQ(none.segments[0].name, "first");
  EXPECT_EQ(none.segments[1].name, "second to third");
}

TEST(RemoveExits, OfNoneIsTheSameNetwork) {
  for (const Graph& graph : example_graphs()) EXPECT_EQ(remove_exits(graph, {}), graph);
}

TEST(RemoveExits, OfAllIsThePlainNetwork) {
  NetworkSpec spec;
  spec.options.width = 4;
  const Graph plain = build_network(spec);
  spec.exits = {"2", "5"};
  EXPECT_EQ(remove_exits(build_network(spec), {0, 1}), plain);
}

TEST(RemoveExits, CostsLessByTheRemovedHeads) {
  for (const Graph& graph : example_graphs()) {
    SCOPED_TRACE(graph.name);
    const Cost all = cost_of(graph);
    const auto head = [&](int k) {
      return all.segments[static_cast<std::size_t>(segment_of(graph, k))].head.macs;
    };
    ASSERT_GT(head(0), 0);
    ASSERT_GT(head(1), 0);
    EXPECT_THAT(cost_of(remove_exits(graph, {0})).exit_macs,
                ElementsAre(all.exit_macs[1] - head(0), all.exit_macs[2] - head(0)));
    EXPECT_THAT(cost_of(remove_exits(graph, {1})).exit_macs,
                ElementsAre(all.exit_macs[0], all.exit_macs[2] - head(1)));
    const Cost plain = cost_of(remove_exits(graph, {0, 1}));
    EXPECT_THAT(plain.exit_macs, ElementsAre(all.plain_macs));
    EXPECT_EQ(plain.plain_macs, all.plain_macs);
    EXPECT_EQ(plain.plain_parameters, all.plain_parameters);
  }
}

TEST(RemoveExits, RefusesExitsOutOfOrderOrRange) {
  const std::string advice = ": exits must increase and lie between 1 and 2";
  const struct {
    std::vector<int> exits;
    std::string first;
  } cases[] = {{{2}, "3"}, {{-1}, "0"}, {{1, 0}, "1"}, {{1, 1}, "2"}, {{0, 5}, "6"}};
  for (const auto& one : cases)
    EXPECT_THAT([&] { remove_exits(small_resnet(), one.exits); },
                ThrowsMessage<Error>("cannot remove exit " + one.first + advice));
}

}  // namespace
}  // namespace offramp::graph
