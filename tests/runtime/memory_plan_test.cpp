#include "runtime/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/random.h"

namespace offramp::runtime {
namespace {

using testing::ElementsAre;

TEST(MemoryPlan, GivesBuffersThatAreNeverInUseTogetherTheSamePlace) {
  const Lifetime buffers[] = {{128, 0, 1}, {128, 1, 2}, {128, 2, 3}};
  const MemoryPlan plan = plan_memory(buffers);
  EXPECT_THAT(plan.offsets, ElementsAre(0, 128, 0));
  EXPECT_EQ(plan.bytes, 256u);
}

TEST(MemoryPlan, UsesAGapThatIsLargeEnough) {
  // The second buffer is no longer in use when the last one is, so the last one takes its place.
  const Lifetime buffers[] = {{256, 0, 9}, {192, 0, 1}, {128, 0, 9}, {64, 5, 6}};
  const MemoryPlan plan = plan_memory(buffers);
  EXPECT_EQ(plan.offsets[3], 256u);
  EXPECT_EQ(plan.bytes, 256u + 192u + 128u);
}

TEST(MemoryPlan, NeedsNoMemoryForEmptyBuffers) {
  EXPECT_EQ(plan_memory({}).bytes, 0u);
  const Lifetime empty[] = {{0, 0, 5}};
  EXPECT_EQ(plan_memory(empty).bytes, 0u);
}

TEST(MemoryPlan, NeverLetsBuffersInUseOverlap) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    core::KeyedRandom random(seed, 3);
    std::vector<Lifetime> buffers(1 + random.below(30));
    for (Lifetime& buffer : buffers) {
      buffer.bytes = random.below(1000);
      buffer.first = static_cast<int>(random.below(20));
      buffer.last = buffer.first + static_cast<int>(random.below(6));
    }
    const MemoryPlan plan = plan_memory(buffers);
    std::size_t most = 0;
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      EXPECT_EQ(plan.offsets[i] % kAlignment, 0u);
      EXPECT_LE(plan.offsets[i] + buffers[i].bytes, plan.bytes);
      std::size_t alive = 0;
      for (std::size_t j = 0; j < buffers.size(); ++j) {
        const bool meet =
            buffers[i].first <= buffers[j].last && buffers[j].first <= buffers[i].last;
        if (buffers[j].first <= buffers[i].first && buffers[i].first <= buffers[j].last)
          alive += aligned(buffers[j].bytes);
        if (i == j || !meet || buffers[i].bytes == 0 || buffers[j].bytes == 0) continue;
        EXPECT_TRUE(plan.offsets[i] + buffers[i].bytes <= plan.offsets[j] ||
                    plan.offsets[j] + buffers[j].bytes <= plan.offsets[i])
            << "seed " << seed << ": " << i << " and " << j;
      }
      most = std::max(most, alive);
    }
    EXPECT_GE(plan.bytes, most);
    EXPECT_LE(plan.bytes, 2 * most) << "seed " << seed;
  }
}

}  // namespace
}  // namespace offramp::runtime
