#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>

#include "core/file.h"
#include "onnx/constant.h"
#include "onnx/schema.h"

namespace offramp::onnx {

/// Reads the tensors of a model, also those whose values stand in files beside it.
class TensorReader {
 public:
  /// @param folder  the folder of the model; files of external data must lie in it
  explicit TensorReader(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Says where the raw data of a tensor lie, if they are not in its message.
  /// @param file  holds the data; it must outlive this object
  void place(const schema::TensorProto& tensor, const core::MappedFile& file,
             std::span<const std::byte> raw_data) {
    placed_[&tensor] = {&file, raw_data};
  }

  /// Reads a tensor of type FLOAT, FLOAT16, BFLOAT16, DOUBLE, BOOL or an integer of at most 64
  /// bits. The number of values, or of bytes, must fit the shape. External data are read as today's
  /// exporters write them: a plain file name in the model's own folder, a regular file that is no
  /// link, and a range inside it.
  /// @throws Error, which does not name the tensor
  Constant read(const schema::TensorProto& tensor);

  /// The bytes of all files of external data that were opened.
  std::uint64_t external_bytes() const { return external_bytes_; }

 private:
  /// A range of bytes of a file.
  struct FileRange {
    const core::MappedFile* file = nullptr;
    std::span<const std::byte> bytes;
  };

  FileRange external(const schema::TensorProto& tensor);

  std::filesystem::path folder_;
  std::unordered_map<const schema::TensorProto*, FileRange> placed_;
  std::map<std::string, std::unique_ptr<core::MappedFile>> files_;
  std::uint64_t external_bytes_ = 0;
};

}  // namespace offramp::onnx
