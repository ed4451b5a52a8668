#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace offramp::core {

/// Computes the 64-bit XXH3 hash of bytes with a seed (Collet, xxHash 0.8). The algorithm's
/// specification defines the value, so it is the same on every machine and in every version of this
/// program and may be stored. To hash several pieces, pass the hash of the earlier pieces as the
/// seed. The hash does not resist inputs made to collide; use SHA-256 (data/hash.cpp) against
/// those.
std::uint64_t hash_of(std::span<const std::byte> bytes, std::uint64_t seed = 0);
std::uint64_t hash_of(std::string_view text, std::uint64_t seed = 0);

/// Computes one hash over several values. Each is preceded by its size, so that bytes cannot move
/// from one value to the next.
class HashOfValues {
 public:
  void add(std::span<const std::byte> bytes) {
    const std::uint64_t size = bytes.size();
    value_ = hash_of(std::as_bytes(std::span(&size, 1)), value_);
    value_ = hash_of(bytes, value_);
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  void add(std::span<const float> values) { add(std::as_bytes(values)); }
  /// Returns 16 hexadecimal digits.
  std::string text() const;

 private:
  std::uint64_t value_ = 0;
};

}  // namespace offramp::core
