#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "onnx/schema.h"

namespace offramp::onnx {

using Shapes = std::map<std::string, graph::Shape, std::less<>>;

// Attributes of a node.
void set_attribute(schema::NodeProto& node, const std::string& name, std::int64_t value);
void set_attribute(schema::NodeProto& node, const std::string& name, float value);
void set_attribute(schema::NodeProto& node, const std::string& name,
                   const std::vector<std::int64_t>& values);

/// Writes the nodes of an ONNX model of opset 17. Constants become initializers of the outermost
/// graph, where the graphs of branches see them too.
class NodeWriter {
 public:
  /// @param main    the outermost graph @param shapes  shapes of all tensors of the network; both
  /// must outlive this object
  NodeWriter(schema::GraphProto& main, const Shapes& shapes) : main_(main), shapes_(shapes) {}

  /// Appends an ONNX node with one output, which gives the node its name.
  schema::NodeProto& add(schema::GraphProto& graph, const std::string& type,
                         const std::vector<std::string>& inputs, const std::string& output);
  /// Appends an operation of the network; its output has the name of the node. The parameters must
  /// be initializers called "<node>.weight" and so on.
  void add(schema::GraphProto& graph, const graph::Node& node);

  // Each adds an initializer and returns its name.
  std::string floats(const std::string& name, const std::vector<std::int64_t>& shape,
                     std::span<const float> values);
  std::string scalar(const std::string& name, float value);
  std::string integers(const std::string& name, const std::vector<std::int64_t>& values);
  /// @param type  a TensorProto::DataType @param bytes  row-major, little-endian
  std::string tensor(const std::string& name, int type, const std::vector<std::int64_t>& shape,
                     std::span<const std::byte> bytes);

 private:
  struct Bin {
    std::int64_t begin = 0, end = 0;
  };

  const graph::Shape& shape(const std::string& tensor) const {
    return shapes_.find(tensor)->second;
  }
  void window(schema::NodeProto& node, const graph::Extent& kernel, const graph::Extent& stride,
              const graph::Padding& padding);
  /// Reduces each bin of a grid to one value. @return [N, C, rows × columns, 1]
  std::string bins(schema::GraphProto& graph, const std::string& name, const std::string& input,
                   int rows, int columns, const std::string& reduction);
  std::string slice(schema::GraphProto& graph, const std::string& name, const std::string& input,
                    std::int64_t axis, std::int64_t begin, std::int64_t end);

  schema::GraphProto& main_;
  const Shapes& shapes_;
};

}  // namespace offramp::onnx
