#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace dnnl {
struct stream;
}

namespace offramp {

/// Where an operation of one workspace reads and writes. Owned by the workspace.
struct Buffers {
  std::vector<std::byte*> srcs;
  std::byte* dst = nullptr;
  std::byte* scratch = nullptr;
};

/// An operation with its memory. Belongs to one workspace, hence to one thread at a time.
class BoundOperation {
 public:
  virtual ~BoundOperation() = default;
  virtual void run() = 0;
};

/// An operation compiled for one batch size and number of threads. Immutable and shared.
class Operation {
 public:
  virtual ~Operation() = default;

  virtual std::size_t scratch_bytes() const { return 0; }
  /// Whose code runs: "brgconv:avx512_core", "offramp".
  virtual std::string implementation() const = 0;
  /// @param stream  of the workspace
  virtual std::unique_ptr<BoundOperation> bind(const Buffers& buffers,
                                               const dnnl::stream& stream) const = 0;
};

}  // namespace offramp
