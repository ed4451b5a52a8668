#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offramp {

/// What a network may take in memory: shapes come from files, and one of a few kilobytes may ask
/// for 2^31 elements a tensor. It leaves room for VGG-16 in f32 at 224 × 224 in batches of 64 (0.5
/// GiB of weights, 25 MB for each image and segment that it waits at) and is what a common machine
/// has.
inline constexpr std::size_t kMostBytes = std::size_t{8} << 30;

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

/// "<what> need 9000 MiB of memory, a network may take 8192".
std::string too_much(std::string_view what, std::size_t bytes, std::size_t most);

}  // namespace offramp
