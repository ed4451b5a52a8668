#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace offramp {

/// XXH3 of bytes, 64 bits, with a seed (Collet, xxHash 0.8). The value is defined by the
/// algorithm's specification: the same on every machine and in every version of this program, so it
/// may be stored. To hash several pieces, give the hash of those before as the seed. It tells apart
/// what was not made to collide; where that is not enough, take SHA-256 (data/hash.cpp).
std::uint64_t hash_of(std::span<const std::byte> bytes, std::uint64_t seed = 0);
std::uint64_t hash_of(std::string_view text, std::uint64_t seed = 0);

}  // namespace offramp
