#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "core/random.h"

namespace offramp::data {

/// The order of images in an epoch: a permutation of 0 … count - 1 that depends on (count, seed,
/// epoch) alone. Each place is computed when it is asked for, so the order takes no memory.
///
/// It is a Feistel network (Luby and Rackoff, 1988) on the smallest even number of bits that can
/// hold `count`; a result that is not below `count` is permuted again until it is (cycle walking:
/// Black and Rogaway, 2002). The range has at most 4 `count` values, so a place takes fewer than 4
/// passes on average.
class EpochOrder {
 public:
  EpochOrder() = default;
  EpochOrder(std::int64_t count, std::uint64_t seed, std::uint64_t epoch)
      : count_(static_cast<std::uint64_t>(count)) {
    // Very small networks do not reach all permutations evenly.
    constexpr int kMinHalfBits = 4;
    const auto bits = static_cast<int>(std::bit_width(count_ > 0 ? count_ - 1 : 0));
    half_bits_ = (bits + 1) / 2 < kMinHalfBits ? kMinHalfBits : (bits + 1) / 2;
    core::KeyedRandom random(seed, epoch, kOrderKey);
    for (std::uint64_t& key : keys_) key = random.next();
  }

  /// Returns which image is at a place, 0 … count - 1.
  std::int64_t operator[](std::int64_t place) const {
    auto value = static_cast<std::uint64_t>(place);
    do value = permuted(value);
    while (value >= count_);
    return static_cast<std::int64_t>(value);
  }

 private:
  // This value replaces the image index in the key of the random numbers, so that the order of
  // images does not use the numbers of any image.
  static constexpr std::uint64_t kOrderKey = ~std::uint64_t{0};

  std::uint64_t permuted(std::uint64_t value) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
    std::uint64_t left = value >> half_bits_, right = value & mask;
    for (const std::uint64_t key : keys_) {
      const std::uint64_t next = left ^ (core::splitmix64(key ^ right) & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  std::uint64_t count_ = 0;
  int half_bits_ = 0;
  std::array<std::uint64_t, 6> keys_{};
};

}  // namespace offramp::data
