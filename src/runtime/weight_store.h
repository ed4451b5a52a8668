#pragma once

#include <cstddef>
#include <memory>

namespace offramp::runtime {

class PackedWeights;

/// The weights of a model in the layouts that its operations need. The compilations of one model
/// share a store, so that weights in a common layout are in memory only once. A store is needed
/// only for compiling: compiled networks keep the weights that they use alive. One thread at a time
/// may use it.
class WeightStore {
 public:
  WeightStore();
  ~WeightStore();
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;

  /// The size in bytes of all its weights.
  std::size_t bytes() const;

  /// The weights, for the compiler.
  PackedWeights& packed() { return *packed_; }

 private:
  std::unique_ptr<PackedWeights> packed_;
};

}  // namespace offramp::runtime
