#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace offramp {

/// Buffers start at multiples of this: a cache line, and a vector of AVX-512.
inline constexpr std::size_t kAlignment = 64;

inline std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// A buffer that holds something from step `first` to step `last`, both included.
struct Lifetime {
  std::size_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct MemoryPlan {
  std::vector<std::size_t> offsets;  ///< of every buffer, multiples of kAlignment
  std::size_t bytes = 0;             ///< of the arena that holds them
};

/// Places buffers in one arena so that two that live at the same time do not overlap: the largest
/// first, each at the lowest offset where it fits.
MemoryPlan plan_memory(std::span<const Lifetime> buffers);

}  // namespace offramp
