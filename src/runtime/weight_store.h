#pragma once

#include <cstddef>
#include <memory>

namespace offramp {

class PackedWeights;

/// Weights in the layouts that a network's operations want, shared by the compilations of one
/// model: what they have in common is kept once. Needed while compiling only; compiled networks
/// keep what they use. For one thread at a time.
class WeightStore {
 public:
  WeightStore();
  ~WeightStore();
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;

  /// Of all weights kept.
  std::size_t bytes() const;

  /// What is kept, for the compiler.
  PackedWeights& packed() { return *packed_; }

 private:
  std::unique_ptr<PackedWeights> packed_;
};

}  // namespace offramp
