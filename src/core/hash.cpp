#include "core/hash.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace offramp::core {

std::uint64_t hash_of(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t hash_of(std::string_view text, std::uint64_t seed) {
  return hash_of(std::as_bytes(std::span(text)), seed);
}

std::string HashOfValues::text() const { return fmt::format("{:016x}", value_); }

}  // namespace offramp::core
