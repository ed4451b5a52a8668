#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/layout.h"
#include "runtime/onednn_operation.h"

namespace offramp::runtime {

/// Weights in the layouts that primitives need. Each is reordered once and then shared, because
/// compilations for different batch sizes and numbers of threads mostly need the same layout.
/// Primitives keep the weights that they use alive.
class PackedWeights {
 public:
  /// Identifies the weights of a node. Quantised weights, and a bias in their units, also depend on
  /// the scales of src and dst.
  struct Key {
    std::string name;
    int argument;  ///< the primitive's argument number
    Element src, dst;
  };

  /// Returns weights in the layout `wanted`, reordering them when it is asked for the first time.
  /// @param plain   the weights in the order of the model file
  /// @param wanted  the layout that the primitive needs
  /// @throws Error if all weights together would take more than max_bytes
  SharedMemory reordered(const Key& key, const dnnl::memory::desc& plain_desc, const void* plain,
                         const dnnl::memory::desc& wanted, std::size_t max_bytes);

  /// The size in bytes of all weights.
  std::size_t bytes() const { return bytes_; }

 private:
  SharedMemory allocate(const dnnl::memory::desc& desc);

  /// By name and argument, and for quantised weights the scales of src and dst.
  std::map<std::tuple<std::string, int, float, float>, std::vector<SharedMemory>> made_;
  // The newest chunk. An older chunk is owned by the weights that lie in it.
  std::shared_ptr<std::byte> chunk_;
  std::size_t chunk_bytes_ = 0, used_ = 0, bytes_ = 0;
};

}  // namespace offramp::runtime
