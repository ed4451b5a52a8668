#pragma once

#include <cstdint>

namespace offramp::core {

/// The output function of SplitMix64, a bijection of 64-bit numbers (Steele, Lea, Flood, 2014).
constexpr std::uint64_t splitmix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// A generator of random numbers that depend on its key alone: the same key, for example (seed,
/// epoch, image), gives the same numbers on every thread, in every order and on every machine.
class KeyedRandom {
 public:
  constexpr KeyedRandom(std::uint64_t seed, std::uint64_t a, std::uint64_t b = 0)
      : state_(splitmix64(splitmix64(splitmix64(seed) ^ a) ^ (b + 0x632be59bd9b4e019u))) {}

  constexpr std::uint64_t next() { return splitmix64(state_++); }
  /// A uniform number in [0, n), n > 0, by multiplication (Lemire, 2019). The bias of a value's
  /// probability is below n / 2^64.
  constexpr std::uint64_t below(std::uint64_t n) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64);
  }
  /// A uniform number in [0, 1) with 24 random bits.
  constexpr float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }
  constexpr float uniform(float low, float high) { return low + (high - low) * uniform(); }
  constexpr bool flip() { return (next() >> 63) != 0; }

 private:
  std::uint64_t state_;
};

}  // namespace offramp::core
