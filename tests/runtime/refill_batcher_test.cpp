#include "runtime/refill_batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <utility>

#include "graph/graph_builder.h"
#include "graph/random_weights.h"
#include "runtime/compile.h"
#include "tests/support/graphs.h"

namespace {

// The number of allocations of this program with operator new, including those of oneDNN.
std::atomic<std::int64_t> allocations = 0;

}  // namespace

// Not inlined, because GCC would warn that memory from operator new is passed to free().
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace offramp::runtime {
namespace {

using testing::ElementsAre;

std::shared_ptr<const CompiledNetwork> compiled(const graph::Graph& graph,
                                                const CompileOptions& options) {
  WeightStore store;
  return compile(graph, graph::random_weights(graph, 1), options, store);
}

/// Pushes images to a stream and records which image was passed to the visitor at which exit.
class VisitRecorder {
 public:
  using Entry = std::pair<std::int64_t, int>;

  VisitRecorder(const graph::Graph& graph, const CompileOptions& options)
      : stream_(compiled(graph, options)) {}

  void push(std::span<const float> images, std::int64_t image) {
    const auto size = static_cast<std::size_t>(core::element_count(stream_.network().input));
    stream_.push(image, images.subspan(static_cast<std::size_t>(image) * size, size), visit_);
  }
  void flush() { stream_.flush(visit_); }
  /// Returns the entries since the last call of take().
  std::vector<Entry> take() { return std::exchange(entries_, {}); }
  RefillBatcher& stream() { return stream_; }

  std::function<bool(std::int64_t, int)> leaves = [](std::int64_t, int) { return false; };

 private:
  RefillBatcher stream_;
  std::vector<Entry> entries_;
  core::ExitVisitor visit_ = [this](std::int64_t image, const core::ExitOutput& output) {
    entries_.emplace_back(image, output.exit_index);
    return leaves(image, output.exit_index);
  };
};

using E = VisitRecorder::Entry;

TEST(RefillBatcher, RunsALaterSegmentAsSoonAsItsBatchIsFull) {
  const graph::Graph graph = small_resnet();
  VisitRecorder journal(graph, {.batches = {2}});
  const auto images = graph::random_images(graph, 3, 1);
  journal.push(images, 0);
  EXPECT_THAT(journal.take(), ElementsAre());
  journal.push(images, 1);
  EXPECT_THAT(journal.take(), ElementsAre(E{0, 0}, E{1, 0}, E{0, 1}, E{1, 1}, E{0, 2}, E{1, 2}));
  journal.push(images, 2);
  EXPECT_THAT(journal.take(), ElementsAre());
  journal.flush();
  EXPECT_THAT(journal.take(), ElementsAre(E{2, 0}, E{2, 1}, E{2, 2}));
}

TEST(RefillBatcher, KeepsWaitingImagesInTheOrderOfArrival) {
  const graph::Graph graph = small_resnet();
  VisitRecorder journal(graph, {.batches = {1, 3}});
  const auto images = graph::random_images(graph, 9, 1);
  journal.leaves = [](std::int64_t image, int) { return image == 1; };
  for (int n = 0; n < 3; ++n) journal.push(images, n);
  EXPECT_THAT(journal.take(), ElementsAre(E{0, 0}, E{1, 0}, E{2, 0}));
  for (int n = 3; n < 6; ++n) journal.push(images, n);
  // 0, 2 and 3 fill the next batch; 4 and 5 wait in the other buffer.
  EXPECT_THAT(journal.take(), ElementsAre(E{3, 0}, E{4, 0}, E{5, 0}, E{0, 1}, E{2, 1}, E{3, 1},
                                          E{0, 2}, E{2, 2}, E{3, 2}));
  journal.flush();
  EXPECT_THAT(journal.take(), ElementsAre(E{4, 1}, E{5, 1}, E{4, 2}, E{5, 2}));
  EXPECT_EQ(journal.stream().counts()[1].full_batches, 1);
  EXPECT_EQ(journal.stream().counts()[1].flushed_runs, 2);
}

TEST(RefillBatcher, FlushesInTheLargestSizesThatAreFull) {
  const graph::Graph graph = small_resnet();
  VisitRecorder journal(graph, {.batches = {2, 4, 16}});
  const auto images = graph::random_images(graph, 7, 1);
  for (int n = 0; n < 7; ++n) journal.push(images, n);
  journal.flush();
  for (const SegmentCounts& counts : journal.stream().counts()) {
    EXPECT_EQ(counts.full_batches, 0);
    EXPECT_EQ(counts.flushed_runs, 3);  // 4 + 2 + 1
    EXPECT_EQ(counts.flushed_images, 7);
  }
}

TEST(RefillBatcher, DropsWaitingImagesWhenCleared) {
  const graph::Graph graph = small_resnet();
  VisitRecorder journal(graph, {.batches = {4}});
  const auto images = graph::random_images(graph, 3, 1);
  for (int n = 0; n < 3; ++n) journal.push(images, n);
  journal.stream().clear();
  journal.flush();
  EXPECT_THAT(journal.take(), ElementsAre());
}

/// Counts the allocations while `count` images are pushed and flushed, after a warm-up with as
/// many.
std::int64_t allocations_of(const graph::Graph& graph, const CompileOptions& options, int count) {
  RefillBatcher stream(compiled(graph, options));
  const core::ExitVisitor visit = [](std::int64_t image, const core::ExitOutput&) {
    return image % 3 == 0;
  };
  const auto images = graph::random_images(graph, 1, 1);
  const auto run = [&] {
    for (int n = 0; n < count; ++n) stream.push(n, images, visit);
    stream.flush(visit);
  };
  run();
  const std::int64_t before = allocations;
  run();
  return allocations - before;
}

/// A graph with pools, sums, a pyramid pool and linear layers, and without convolutions.
graph::Graph without_convolutions() {
  graph::Graph graph{"pools", {3, 9, 9}, 4, {}};
  graph::Segment first{"first", {}, {"sum"}, "sum", {}};
  append(first.nodes, "max", graph::MaxPool{3, 1, 1}, {"input"});
  append(first.nodes, "norm", graph::BatchNorm{}, {"max"});
  append(first.nodes, "sum", graph::Add{}, {"norm", "input"});
  append(first.head, "exits.1.pool", graph::SpatialPyramidPool{{1, 2, 4}}, {"sum"});
  append(first.head, "exits.1.fc", graph::Linear{4}, {"exits.1.pool"});
  graph::Segment second{"second", {}, {}, "joined", {}};
  append(second.nodes, "avg", graph::AvgPool{3, 1, 1}, {"sum"});
  append(second.nodes, "joined", graph::Concat{}, {"avg", "sum"});
  append(second.head, "flat", graph::Flatten{}, {"joined"});
  append(second.head, "fc", graph::Linear{4}, {"flat"});
  graph.segments = {first, second};
  return graph;
}

TEST(RefillBatcher, AllocatesNothingOfItsOwn) {
  for (const Precision precision : {Precision::f32, usable_precision(Precision::bf16)})
    EXPECT_EQ(allocations_of(without_convolutions(), {precision, {4}}, 30), 0);
}

TEST(RefillBatcher, AllocatesOnlyWhatOneDnnDoesToExecuteItsPrimitives) {
  const graph::Graph graph = small_resnet();
  const int count = 30;
  Workspace bare(compiled(graph, {.batches = {1}}));
  std::int64_t expected = 0, primitives = 0;
  for (std::size_t stage = 0; stage < bare.network().stages.size(); ++stage) {
    bare.run_body(stage, 0, 0);
    bare.run_head(stage, 0, 0);
    const std::int64_t before = allocations;
    bare.run_body(stage, 0, 0);
    bare.run_head(stage, 0, 0);
    // A third of the images leaves at the first exit.
    const int images = stage == 0 ? count : count - count / 3;
    expected += (allocations - before) * images;
    for (const Step& step : bare.network().stages[stage].sizes[0].body)
      if (step.operation->implementation() != "offramp") primitives += images;
  }
  EXPECT_EQ(allocations_of(graph, {.batches = {1}}, count), expected);
  // dnnl_primitive_execute allocates tables for its arguments, independent of the size of an image.
  EXPECT_LE(expected, 9 * primitives);
}

}  // namespace
}  // namespace offramp::runtime
