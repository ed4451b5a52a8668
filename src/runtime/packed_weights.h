#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/layout.h"
#include "runtime/primitive_operation.h"

namespace offramp {

/// Weights in the layouts that primitives want, each made once: batch sizes and numbers of threads
/// mostly agree on it. Primitives keep what they use.
class PackedWeights {
 public:
  /// Whose weights. Quantised ones, and the bias in their units, are others for other scales.
  struct Key {
    std::string name;
    int argument;  ///< of its primitive
    Element src, dst;
  };

  /// @param plain   as a graph has them
  /// @param wanted  the primitive's
  /// @throws Error if all weights kept would take more than most_bytes
  SharedMemory reordered(const Key& key, const dnnl::memory::desc& plain_desc, const void* plain,
                         const dnnl::memory::desc& wanted, std::size_t most_bytes);

  /// Of all weights kept.
  std::size_t bytes() const { return bytes_; }

 private:
  SharedMemory allocate(const dnnl::memory::desc& desc);

  /// By name and argument, and for quantised weights the scales of src and dst.
  std::map<std::tuple<std::string, int, float, float>, std::vector<SharedMemory>> made_;
  std::shared_ptr<std::byte> chunk_;  // the newest; the others belong to what lies in them
  std::size_t chunk_bytes_ = 0, used_ = 0, bytes_ = 0;
};

}  // namespace offramp
