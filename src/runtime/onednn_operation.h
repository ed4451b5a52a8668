#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/onednn.h"
#include "runtime/operation.h"

namespace offramp::runtime {

/// Constant memory that several primitives share.
struct SharedMemory {
  dnnl::memory memory;
  std::shared_ptr<const std::byte> owner;
};

/// An operation that executes a primitive of oneDNN with one src, one dst, scratch memory and
/// shared constants.
class OnednnOperation : public Operation {
 public:
  struct Parts {
    dnnl::primitive primitive;
    std::string implementation;
    dnnl::memory::desc src, dst, scratchpad;
    int src_argument = DNNL_ARG_SRC, dst_argument = DNNL_ARG_DST;
    /// Weights and bias, with their oneDNN argument numbers. All threads share them, because they
    /// are only read.
    std::vector<std::pair<int, SharedMemory>> constants;

    /// A primitive of oneDNN with the layouts of its descriptor, without constants.
    template <typename Primitive>
    static Parts of(const typename Primitive::primitive_desc& descriptor) {
      Parts parts;
      parts.primitive = Primitive(descriptor);
      parts.implementation = descriptor.impl_info_str();
      parts.src = descriptor.src_desc();
      parts.dst = descriptor.dst_desc();
      parts.scratchpad = descriptor.scratchpad_desc();
      return parts;
    }
  };

  explicit OnednnOperation(Parts parts) : parts_(std::move(parts)) {}

  std::size_t scratch_bytes() const override { return parts_.scratchpad.get_size(); }
  std::string implementation() const override { return parts_.implementation; }
  std::unique_ptr<BoundOperation> bind(const Buffers& buffers,
                                       const dnnl::stream& stream) const override;

 private:
  Parts parts_;
};

/// Makes an operation that copies images from one layout to another of the same shape and elements.
std::shared_ptr<const Operation> make_reorder(const Layout& src, const Layout& dst, int batch);

}  // namespace offramp::runtime
