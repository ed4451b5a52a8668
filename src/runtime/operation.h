#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace dnnl {
struct stream;
}

namespace offramp::runtime {

/// The memory that an operation reads and writes. The workspace owns it.
struct Buffers {
  std::vector<std::byte*> srcs;
  std::byte* dst = nullptr;
  std::byte* scratch = nullptr;
};

/// An operation bound to the memory of one workspace. One thread at a time may run it.
class BoundOperation {
 public:
  virtual ~BoundOperation() = default;
  virtual void run() = 0;
};

/// An operation compiled for one batch size and one number of threads. It is immutable, and all
/// workspaces share it.
class Operation {
 public:
  virtual ~Operation() = default;

  /// The size in bytes of the scratch memory that it needs while it runs.
  virtual std::size_t scratch_bytes() const { return 0; }
  /// The name of the implementation: oneDNN's, for example "brgconv:avx512_core", or "offramp".
  virtual std::string implementation() const = 0;
  /// Binds the operation to memory.
  /// @param stream  the workspace's stream
  virtual std::unique_ptr<BoundOperation> bind(const Buffers& buffers,
                                               const dnnl::stream& stream) const = 0;
};

}  // namespace offramp::runtime
