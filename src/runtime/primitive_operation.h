#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/onednn.h"
#include "runtime/operation.h"

namespace offramp {

/// Constant memory of several primitives.
struct SharedMemory {
  dnnl::memory memory;
  std::shared_ptr<const std::byte> owner;
};

/// A primitive of oneDNN as an operation: one src, one dst, scratch, and memory that all share.
class PrimitiveOperation : public Operation {
 public:
  struct Parts {
    dnnl::primitive primitive;
    std::string implementation;
    dnnl::memory::desc src, dst, scratchpad;
    int src_argument = DNNL_ARG_SRC, dst_argument = DNNL_ARG_DST;
    /// Weights and bias: read only, so one memory serves every thread.
    std::vector<std::pair<int, SharedMemory>> constants;
  };

  explicit PrimitiveOperation(Parts parts) : parts_(std::move(parts)) {}

  std::size_t scratch_bytes() const override { return parts_.scratchpad.get_size(); }
  std::string implementation() const override { return parts_.implementation; }
  std::unique_ptr<BoundOperation> bind(const Buffers& buffers,
                                       const dnnl::stream& stream) const override;

 private:
  Parts parts_;
};

/// Copies images from one layout into another of the same shape and elements.
std::shared_ptr<const Operation> make_reorder(const Layout& src, const Layout& dst, int batch);

}  // namespace offramp
