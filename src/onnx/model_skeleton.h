#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace offramp::onnx {

/// An ONNX file without the values of its large weights, so that these are not copied when the
/// file is parsed.
struct ModelSkeleton {
  std::string bytes;  ///< a ModelProto
  /// For each initializer of the graph, its raw data in the file; empty if it was not taken out.
  std::vector<std::span<const std::byte>> raw_data;
  std::size_t num_nodes = 0;  ///< number of nodes of the graph, its inner graphs and the functions
};

/// Takes the raw data of large initializers out of a file.
/// @return nullopt if the file is not written in the usual way; it may be damaged
std::optional<ModelSkeleton> skeleton_of(std::span<const std::byte> file);

}  // namespace offramp::onnx
