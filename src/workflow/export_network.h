#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "onnx/write_network.h"

namespace offramp::workflow {

struct ExportNetworkOptions {
  std::filesystem::path model;
  std::filesystem::path out;  ///< the ONNX file
  onnx::Form form = onnx::Form::conditional;
  /// f32; int8 for an int8 model; auto: int8 for an int8 model, else f32.
  std::string precision = "auto";
};

/// The ONNX file that was written.
struct ExportedNetwork {
  std::int64_t bytes = 0;
  int exits = 0;          ///< exits that the file has
  std::string precision;  ///< f32 or int8
};

/// Writes a model as an ONNX file. @throws Error "<path>: …" as onnx::network_as_onnx, or if a file
/// cannot be read or written
ExportedNetwork export_network(const ExportNetworkOptions& options);

}  // namespace offramp::workflow
