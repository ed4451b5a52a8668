#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace offramp {

class MappedFile;

/// A tensor inside a safetensors file: where it lies, not a copy.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  HostTensor copy() const;
  /// As HostTensor::to_f32, with one copy less.
  std::vector<float> to_f32() const;
};

/// A parsed safetensors file: 8-byte little-endian header length, JSON header, raw tensors.
/// Everything is checked before it is offered: header length and cap, UTF-8 and JSON, known dtypes,
/// sizes = dtype × shape, offsets contiguous from 0 without holes or overlap up to the end of the
/// file, no duplicate name, metadata string → string. Views live as long as this object.
class Safetensors {
 public:
  /// Maps the file. @throws Error "<path>: <what is wrong>"
  static Safetensors open(const std::filesystem::path& path);
  /// Reads from memory, which must outlive the result. @throws Error "<what is wrong>"
  static Safetensors parse(std::span<const std::byte> bytes);

  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }
  /// @throws Error naming the tensor if there is none
  const TensorView& at(std::string_view name) const;

  /// Gives the memory of a tensor's pages back to the system; they are read from the file again
  /// when it is looked at.
  void drop_pages(const TensorView& tensor) const;

 private:
  std::shared_ptr<const MappedFile> owner_;
  std::map<std::string, std::string, std::less<>> metadata_;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

using Metadata = std::map<std::string, std::string, std::less<>>;

/// Writes a safetensors file in one step (see write_file_atomic). Data lie widest element type
/// first, then by name, and start at a multiple of 8 bytes: every tensor is aligned for its type,
/// and equal content gives equal bytes.
/// @throws Error if a tensor's bytes do not fit its shape, a text is not UTF-8, or as
/// write_file_atomic
void write_safetensors(const std::filesystem::path& path, const Metadata& metadata,
                       const Tensors& tensors);

}  // namespace offramp
