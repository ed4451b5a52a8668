#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace offramp::core {

class MappedFile;

/// A tensor inside a safetensors file. It refers to the bytes of the file and does not copy them.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  HostTensor copy() const;
  /// Returns the values as HostTensor::to_f32 does, without copying the tensor first.
  std::vector<float> to_f32() const;
};

/// A parsed safetensors file: 8-byte little-endian header length, JSON header, raw tensors.
/// Opening checks the whole header: its length and largest length, UTF-8 and JSON, known dtypes,
/// sizes = dtype × shape, offsets that are contiguous from 0 to the end of the file without holes
/// or overlap, unique names, metadata string → string. The views are valid as long as this object.
class Safetensors {
 public:
  /// Maps a file into memory. @throws Error "<path>: <what is wrong>"
  static Safetensors open(const std::filesystem::path& path);
  /// Reads from memory, which must outlive the result. @throws Error "<what is wrong>"
  static Safetensors parse(std::span<const std::byte> bytes);

  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }
  /// @throws Error naming the tensor if there is none
  const TensorView& at(std::string_view name) const;

  /// Releases the memory of a tensor. The system reads it from the file again when it is accessed.
  void drop_pages(const TensorView& tensor) const;
  /// As MappedFile::check_length(). Does nothing if the tensors are not in a mapped file.
  void check_length() const;

 private:
  std::shared_ptr<const MappedFile> owner_;
  std::map<std::string, std::string, std::less<>> metadata_;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

using Metadata = std::map<std::string, std::string, std::less<>>;

/// Writes a safetensors file in one step (see write_file_atomic). The tensors are ordered by the
/// size of their element type, largest first, then by name, and their data start at a multiple of 8
/// bytes. So every tensor is aligned for its type, and equal content gives equal bytes.
/// @throws Error if a tensor's bytes do not fit its shape, if a text is not UTF-8, or as
///         write_file_atomic
void write_safetensors(const std::filesystem::path& path, const Metadata& metadata,
                       const Tensors& tensors);

}  // namespace offramp::core
