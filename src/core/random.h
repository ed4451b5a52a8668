#pragma once

#include <cstdint>

namespace offramp {

/// SplitMix64's finaliser: a bijective scramble of 64 bits (Steele, Lea, Flood, 2014).
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// A stream of random numbers that depends on its key alone: the same (seed, epoch, image)
/// gives the same numbers on any thread, in any order, on any machine.
class KeyedRandom {
 public:
  constexpr KeyedRandom(std::uint64_t seed, std::uint64_t a, std::uint64_t b = 0)
      : state_(mix(mix(mix(seed) ^ a) ^ (b + 0x632be59bd9b4e019u))) {}

  constexpr std::uint64_t next() { return mix(state_++); }
  /// Uniform in [0, n), n > 0, by multiplication (Lemire, 2019); the bias is below n / 2^64.
  constexpr std::uint64_t below(std::uint64_t n) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64);
  }
  /// Uniform in [0, 1) with 24 bits.
  constexpr float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }
  constexpr float uniform(float low, float high) { return low + (high - low) * uniform(); }
  constexpr bool flip() { return (next() >> 63) != 0; }

 private:
  std::uint64_t state_;
};

}  // namespace offramp
