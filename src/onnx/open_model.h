#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "onnx/schema.h"

namespace offramp::onnx {

/// The versions of ONNX's operator set that are read.
inline constexpr int kOldestOpset = 9, kNewestOpset = 21;

/// The largest number of nodes of a network: DenseNet-201 has about 1,000 without the arithmetic on
/// shapes.
inline constexpr std::size_t kMaxNodes = 20'000;

/// A parsed ONNX file. The raw data of large weights stay in the bytes of the file.
struct ParsedModel {
  schema::ModelProto proto;
  /// For each initializer of the graph, its raw data in the file if they are not in `proto`.
  std::vector<std::span<const std::byte>> raw_data;
};

/// Parses an ONNX file and checks its versions.
/// @param bytes  must outlive the result
/// @throws Error if it is not an ONNX model, or its opset is not supported
ParsedModel parse_model(std::span<const std::byte> bytes);

/// The version of the standard operator set of a model; 0 if it names none.
int opset_of(const schema::ModelProto& model);

}  // namespace offramp::onnx
