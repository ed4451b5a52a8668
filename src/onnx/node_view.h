#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/schema.h"
#include "onnx/tensor_data.h"

namespace offramp::onnx {

/// The attributes of one ONNX node. It notes which of them were read: an attribute that nobody read
/// could change what the node computes, so it is an error.
class NodeView {
 public:
  NodeView(const schema::NodeProto& node, int opset, TensorReader& tensors);

  const schema::NodeProto& proto() const { return node_; }
  /// The version of the operator set that the node belongs to.
  int opset() const { return opset_; }
  bool has(std::string_view name) const;

  std::int64_t integer(std::string_view name, std::int64_t otherwise);
  double number(std::string_view name, double otherwise);
  std::string text(std::string_view name, const std::string& otherwise);
  std::vector<std::int64_t> integers(std::string_view name);
  std::vector<float> numbers(std::string_view name);
  std::optional<Constant> tensor(std::string_view name);
  const schema::GraphProto* graph(std::string_view name);

  /// Marks an attribute as read although its value does not matter.
  void ignore(std::string_view name) { read_.emplace(name); }
  /// @throws Error unless the attribute is missing or has this value
  void expect(std::string_view name, std::int64_t value);
  /// @throws Error naming the attributes that were not read
  void finish() const;

 private:
  const schema::AttributeProto* find(std::string_view name, int type);

  const schema::NodeProto& node_;
  int opset_;
  TensorReader& tensors_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace offramp::onnx
