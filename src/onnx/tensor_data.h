#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/file.h"
#include "onnx/constant.h"
#include "onnx/schema.h"

namespace offramp::onnx {

/// Reads the tensors of a model, also those whose values stand in files beside it.
class TensorReader {
 public:
  /// @param folder  the folder of the model; files of external data must lie in it
  explicit TensorReader(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Reads a tensor of type FLOAT, FLOAT16, BFLOAT16, DOUBLE, BOOL or an integer of at most 64
  /// bits. The number of values, or of bytes, must fit the shape. External data are read as today's
  /// exporters write them: a plain file name in the model's own folder, a regular file that is no
  /// link, and a range inside it.
  /// @throws Error, which does not name the tensor
  Constant read(const schema::TensorProto& tensor);

  /// The bytes of all files of external data that were opened.
  std::uint64_t external_bytes() const { return external_bytes_; }

 private:
  std::span<const std::byte> external(const schema::TensorProto& tensor);

  std::filesystem::path folder_;
  std::map<std::string, std::unique_ptr<core::MappedFile>> files_;
  std::uint64_t external_bytes_ = 0;
};

}  // namespace offramp::onnx
