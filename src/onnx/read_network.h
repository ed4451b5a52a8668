#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"

namespace offramp::onnx {

/// A network that was read from an ONNX file.
struct ImportedNetwork {
  graph::Graph graph;     ///< plain: one segment with the classifier as its head
  core::Tensors weights;  ///< one tensor for each of parameters(graph), f32
  /// The normalisation that the ONNX network applies to the image before all other operations:
  /// scale x + shift for each channel. It is not part of the graph. Empty if there is none.
  std::vector<float> input_scale, input_shift;
  /// The ranges of 8-bit image tensors, by the nodes of the graph; empty if the file has none. It
  /// may have them for some tensors alone.
  model::ActivationRanges ranges;
  bool is_quantised = false;       ///< the file quantises tensors of the network
  std::vector<std::string> notes;  ///< a line for each thing that was left out, for the user
  std::string producer;            ///< the program that wrote the file; may be empty
  int opset = 0;
  std::uint64_t bytes = 0;  ///< size of the file and its external data
  std::size_t nodes = 0;    ///< number of ONNX nodes that were read
  std::string hash;         ///< XXH3 of the file, without external data
};

/// The height and width of images.
struct ImageSize {
  int height = 0, width = 0;
};

/// Reads a classifier of images from an ONNX file: one input [N,C,H,W] or [N,H,W,C] of 1 or 3
/// channels, and an output [N,classes]. Shapes and weights are computed while the file is read, so
/// the network has only operations of the graph.
/// @param size  the size of images; needed where the file leaves it open
/// @throws Error "<path>: …" if the file is not an ONNX model, or "<path>: 2 of 120 nodes cannot be
/// imported: node …", with the first of them
ImportedNetwork read_network(const std::filesystem::path& path,
                             const std::optional<ImageSize>& size = {});

}  // namespace offramp::onnx
