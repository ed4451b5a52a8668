#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offramp::runtime {

/// The default limit on the memory of a network, in bytes. There is a limit because shapes come
/// from files, and a file of a few kilobytes can describe tensors of 2^31 elements. 8 GiB is the
/// memory of a common machine, and enough for VGG-16 in f32 at 224 × 224 pixels in batches of 64
/// (0.5 GiB of weights, and 25 MB for each image in each segment).
inline constexpr std::size_t kMaxNetworkBytes = std::size_t{8} << 30;

/// Buffers start at multiples of this size, in bytes: a cache line, and an AVX-512 vector.
inline constexpr std::size_t kAlignment = 64;

/// Rounds a size up to a multiple of kAlignment.
inline std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// A buffer that is in use from step `first` to step `last`, both included.
struct Lifetime {
  std::size_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct MemoryPlan {
  std::vector<std::size_t> offsets;  ///< [buffers] in bytes, multiples of kAlignment
  std::size_t bytes = 0;             ///< size of the arena
};

/// Places buffers in one arena so that two buffers in use at the same time do not overlap. The
/// buffers are placed from the largest to the smallest, each at the lowest offset where it fits.
MemoryPlan plan_memory(std::span<const Lifetime> buffers);

/// The message "<what> need 9000 MiB of memory; the limit for a network is 8192 MiB".
std::string memory_limit_message(std::string_view what, std::size_t bytes, std::size_t most);

}  // namespace offramp::runtime
