#include "runtime/compile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>

#include "core/error.h"
#include "graph/random_weights.h"
#include "runtime/activation_ranges.h"
#include "runtime/single_image_run.h"
#include "runtime/workspace.h"
#include "tests/support/graphs.h"

namespace {

// The bytes that this program has allocated with operator new, now and at most.
std::atomic<std::size_t> held = 0, peak = 0;

void* counted(std::size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) return nullptr;
  const std::size_t now = held += malloc_usable_size(memory);
  if (now > peak) peak = now;
  return memory;
}
void release(void* memory) {
  held -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

// Not inlined, because GCC would warn that memory from operator new is passed to free().
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (void* memory = counted(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return counted(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { release(memory); }

namespace offramp::runtime {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::size_t kMiB = std::size_t{1} << 20;

graph::Segment segment_of(std::vector<graph::Node> nodes, std::int64_t classes) {
  graph::Segment segment;
  segment.nodes = std::move(nodes);
  segment.feature = segment.nodes.back().name;
  segment.head = {{"pool", graph::GlobalAvgPool{}, {segment.feature}},
                  {"fc", graph::Linear{.out_features = classes}, {"pool"}}};
  return segment;
}

TEST(Compile, HoldsTheWeightsOfTheWholeNetworkOnceAtMost) {
  std::vector<graph::Node> nodes;
  for (int i = 0; i < 16; ++i)
    nodes.push_back({"c" + std::to_string(i),
                     graph::Conv{.out_channels = 128, .kernel = 3, .padding = 1},
                     {i == 0 ? "input" : "c" + std::to_string(i - 1)}});
  const graph::Graph graph = {"wide", {128, 4, 4}, 2, {segment_of(nodes, 2)}};
  std::map<std::string, std::size_t> sizes;
  std::size_t bytes = 0;
  for (const graph::Parameter& parameter : graph::parameters(graph)) {
    sizes[parameter.name] = static_cast<std::size_t>(core::element_count(parameter.shape));
    bytes += sizes[parameter.name] * sizeof(float);
  }
  const WeightSource source = [&](const std::string& name) {
    return std::vector<float>(sizes.at(name), 0.01f);
  };
  for (const Precision precision : {Precision::f32, usable_precision(Precision::bf16)}) {
    WeightStore store;
    const std::size_t before = held;
    peak = before;
    compile(graph, source, {precision, {1, 4}}, store);
    EXPECT_LT(peak - before, bytes + bytes / 4) << to_string(precision);
  }
}

TEST(Compile, RefusesTensorsThatNoNetworkMayTake) {
  const graph::Graph graph = small_resnet();
  const core::Tensors weights = graph::random_weights(graph, 1);
  const auto with = [&](int batch, std::size_t most) {
    WeightStore store;
    compile(graph, weights, {.batches = {batch}, .max_bytes = most}, store);
  };
  EXPECT_NO_THROW(with(4, 8 * kMiB));
  EXPECT_THAT([&] { with(1000, 8 * kMiB); },
              ThrowsMessage<Error>("tensor \"bn1\": [4,32,32] in batches of 1000 need 16 MiB of "
                                   "memory; the limit for a network is 8 MiB"));
  EXPECT_THAT([&] { with(std::numeric_limits<int>::max(), kMaxNetworkBytes); },
              ThrowsMessage<Error>(HasSubstr("in batches of 2147483647 need ")));
}

TEST(Compile, RefusesActivationsThatTogetherAreTooMany) {
  // Each tensor has 4 MiB, and the four must be in memory at the same time.
  std::vector<graph::Node> nodes;
  for (const char* name : {"a", "b", "c", "d"})
    nodes.push_back({name, graph::MaxPool{3, 1, 1}, {"input"}});
  nodes.push_back({"sum", graph::Concat{}, {"a", "b", "c", "d"}});
  const graph::Graph graph = {"many", {1, 1024, 1024}, 2, {segment_of(nodes, 2)}};
  const core::Tensors weights = graph::random_weights(graph, 1);
  const auto within = [&](std::size_t most) {
    WeightStore store;
    const auto network = compile(graph, weights, {.max_bytes = most}, store);
    EXPECT_LE(Workspace(network).bytes(), most);
    EXPECT_EQ(Workspace(network).bytes(), workspace_bytes(*network));
  };
  within(48 * kMiB);
  // The first limit is below the size of the arena, the second below that of arena and two inputs.
  EXPECT_THAT([&] { within(20 * kMiB); },
              ThrowsMessage<Error>("segment with node \"a\": activations in batches of 1 need 32 "
                                   "MiB of memory; the limit for a network is 20 MiB"));
  EXPECT_THAT([&] { within(36 * kMiB); },
              ThrowsMessage<Error>("weights, activations and inputs in batches of 1 need 41 MiB of "
                                   "memory; the limit for a network is 36 MiB"));
}

TEST(Compile, RefusesWeightsThatGrowBeyondTheirFile) {
  // 17 channels are padded to a multiple of a block of 16 or 8.
  const graph::Graph graph = {
      "blocks",
      {17, 4, 4},
      2,
      {segment_of({{"c", graph::Conv{.out_channels = 17, .kernel = 3, .padding = 1}, {"input"}}},
                  2)}};
  const core::Tensors weights = graph::random_weights(graph, 1);
  WeightStore store, other;
  compile(graph, weights, {}, store);
  const std::size_t taken = store.bytes();
  ASSERT_GT(taken, 17 * 17 * 9 * sizeof(float) + 1000);
  EXPECT_THAT([&] { compile(graph, weights, {.max_bytes = taken - 1}, other); },
              ThrowsMessage<Error>(
                  HasSubstr("node \"c\": its weights and those of the nodes before it need")));
  compile(graph, weights, {.batches = {1, 2}, .threads = 2}, store);
  EXPECT_EQ(store.bytes(), taken) << "kept once";
}

TEST(Compile, SharesAStoreBetweenPrecisionsAndRanges) {
  if (!has_instructions_for(Precision::int8)) GTEST_SKIP() << "no 8-bit instructions here";
  const graph::Graph graph = small_resnet();
  const core::Tensors weights = graph::random_weights(graph, 1);
  const auto image = graph::random_images(graph, 1, 1);
  CompileOptions narrow{.precision = Precision::int8}, wide = narrow;
  narrow.ranges = wide.ranges =
      observe_ranges(graph, weights, graph::random_images(graph, 8, 2), 1);
  for (auto& [tensor, range] : wide.ranges) range.magnitude *= 1.5f;
  const auto logits_of = [&](const CompileOptions& options, WeightStore& store) {
    SingleImageRun image_run(compile(graph, weights, options, store));
    image_run.begin(image);
    const auto output = image_run.advance();
    return std::vector<float>(output.begin(), output.end());
  };
  WeightStore shared;
  for (const CompileOptions& options : {CompileOptions{}, narrow, wide, CompileOptions{}, narrow}) {
    WeightStore own;
    EXPECT_EQ(logits_of(options, shared), logits_of(options, own)) << to_string(options.precision);
  }
}

TEST(Compile, MakesNoGroupDenseThatWouldTakeGigabytes) {
  // The grouped convolution has 144 Ki weights; its dense form would have 2304 Mi.
  const graph::Graph graph = {
      "groups",
      {1, 2, 2},
      2,
      {segment_of({{"wide", graph::Conv{.out_channels = 16384, .kernel = 1}, {"input"}},
                   {"c",
                    graph::Conv{.out_channels = 16384, .kernel = 3, .padding = 1, .groups = 16384},
                    {"wide"}}},
                  2)}};
  const core::Tensors weights = graph::random_weights(graph, 1);
  for (const Precision precision : {Precision::f32, usable_precision(Precision::bf16)}) {
    WeightStore store;
    const std::size_t before = held;
    peak = before;
    compile(graph, weights, {.precision = precision}, store);
    EXPECT_LT(store.bytes() + (peak - before), 64 * kMiB);
  }
}

TEST(Compile, RefusesAnImageOfGigabytesInALine) {
  const graph::Graph graph = {"huge",
                              {1, 46000, 46000},
                              2,
                              {segment_of({{"a", graph::Relu{}, {"input"}},
                                           {"b", graph::Relu{}, {"input"}},
                                           {"c", graph::Add{}, {"a", "b"}}},
                                          2)}};
  WeightStore store;
  EXPECT_THAT(
      [&] { compile(graph, graph::random_weights(graph, 1), {}, store); },
      ThrowsMessage<Error>(HasSubstr("MiB of memory; the limit for a network is 8192 MiB")));
}

}  // namespace
}  // namespace offramp::runtime
