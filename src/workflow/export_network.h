#pragma once

#include <cstdint>
#include <filesystem>

#include "onnx/write_network.h"

namespace offramp::workflow {

struct ExportNetworkOptions {
  std::filesystem::path model;
  std::filesystem::path out;  ///< the ONNX file
  onnx::Form form = onnx::Form::conditional;
};

/// The ONNX file that was written.
struct ExportedNetwork {
  std::int64_t bytes = 0;
  int exits = 0;  ///< exits that the file has
};

/// Writes a model as an ONNX file. @throws Error "<path>: …" as onnx::network_as_onnx, or if a file
/// cannot be read or written
ExportedNetwork export_network(const ExportNetworkOptions& options);

}  // namespace offramp::workflow
