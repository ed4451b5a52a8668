#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "onnx/schema.h"

namespace offramp::onnx {

/// The versions of ONNX's operator set that are read.
inline constexpr int kOldestOpset = 9, kNewestOpset = 21;

/// Parses an ONNX file and checks its versions.
/// @throws Error if it is not an ONNX model, or its opset is not supported
schema::ModelProto parse_model(std::span<const std::byte> bytes);

/// The version of the standard operator set of a model; 0 if it names none.
int opset_of(const schema::ModelProto& model);

}  // namespace offramp::onnx
