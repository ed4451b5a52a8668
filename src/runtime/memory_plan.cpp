#include "runtime/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace offramp::runtime {
namespace {

bool overlap_in_time(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

}  // namespace

MemoryPlan plan_memory(std::span<const Lifetime> buffers) {
  std::vector<std::size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return buffers[a].bytes > buffers[b].bytes;
  });

  MemoryPlan plan{std::vector<std::size_t>(buffers.size()), 0};
  std::vector<std::size_t> placed;  // indices of placed buffers, in the order of their offsets
  for (const std::size_t buffer : order) {
    if (buffers[buffer].bytes == 0) break;  // buffers are sorted by size, so the rest is empty
    const std::size_t size = aligned(buffers[buffer].bytes);
    std::size_t offset = 0;
    for (const std::size_t other : placed) {
      if (!overlap_in_time(buffers[buffer], buffers[other])) continue;
      if (plan.offsets[other] >= offset + size) break;
      offset = std::max(offset, plan.offsets[other] + aligned(buffers[other].bytes));
    }
    plan.offsets[buffer] = offset;
    plan.bytes = std::max(plan.bytes, offset + size);
    const auto after = std::upper_bound(
        placed.begin(), placed.end(), offset,
        [&](std::size_t value, std::size_t other) { return value < plan.offsets[other]; });
    placed.insert(after, buffer);
  }
  return plan;
}

std::string memory_limit_message(std::string_view what, std::size_t bytes, std::size_t most) {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  return fmt::format("{} need {} MiB of memory; the limit for a network is {} MiB", what,
                     (bytes + kMiB - 1) / kMiB, most / kMiB);
}

}  // namespace offramp::runtime
