#include "tests/onnx/model_builder.h"

#include <array>
#include <fstream>

namespace offramp::test {

using onnx::schema::AttributeProto;
using onnx::schema::NodeProto;
using onnx::schema::TensorProto;

namespace {

void declare(onnx::schema::ValueInfoProto& value, const std::string& name,
             const std::vector<std::int64_t>& sizes) {
  value.set_name(name);
  auto& type = *value.mutable_type()->mutable_tensor_type();
  type.set_elem_type(TensorProto::FLOAT);
  for (const std::int64_t size : sizes) {
    auto& dim = *type.mutable_shape()->add_dim();
    if (size > 0) dim.set_dim_value(size);
  }
}

AttributeProto& attribute(NodeProto& node, const std::string& name,
                          onnx::schema::AttributeProto_AttributeType type) {
  AttributeProto& result = *node.add_attribute();
  result.set_name(name);
  result.set_type(type);
  return result;
}

}  // namespace

ModelBuilder::ModelBuilder(int opset, const std::vector<std::int64_t>& input) {
  model_.set_ir_version(8);
  model_.set_producer_name("test");
  model_.add_opset_import()->set_version(opset);
  declare(*graph().add_input(), "image", input);
  declare(*graph().add_output(), "logits", {});
}

NodeProto& ModelBuilder::node(const std::string& type, const std::vector<std::string>& inputs,
                              const std::string& output) {
  NodeProto& node = *graph().add_node();
  node.set_op_type(type);
  node.set_name(output + "/" + type);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

TensorProto& ModelBuilder::floats(const std::string& name, const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  constexpr std::array<float, 7> kValues = {0.5f, -0.25f, 0.125f, 1, -0.75f, 0.375f, -0.0625f};
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i)
    values.push_back(kValues[static_cast<std::size_t>(i) % 7]);
  return floats(name, shape, values);
}

TensorProto& ModelBuilder::floats(const std::string& name, const std::vector<std::int64_t>& shape,
                                  const std::vector<float>& values) {
  TensorProto& tensor = *graph().add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(TensorProto::FLOAT);
  tensor.mutable_dims()->Add(shape.begin(), shape.end());
  tensor.set_raw_data(values.data(), values.size() * sizeof(float));
  return tensor;
}

TensorProto& ModelBuilder::integers(const std::string& name,
                                    const std::vector<std::int64_t>& values) {
  TensorProto& tensor = *graph().add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(TensorProto::INT64);
  tensor.add_dims(static_cast<std::int64_t>(values.size()));
  tensor.mutable_int64_data()->Add(values.begin(), values.end());
  return tensor;
}

void ModelBuilder::conv(const std::string& output) {
  floats("conv.weight", {5, 3, 3, 3});
  floats("conv.bias", {5});
  set(node("Conv", {"image", "conv.weight", "conv.bias"}, output), "kernel_shape",
      std::vector<std::int64_t>{3, 3});
}

void ModelBuilder::classifier(const std::string& feature, std::int64_t channels) {
  node("GlobalAveragePool", {feature}, "pooled");
  node("Flatten", {"pooled"}, "flat");
  floats("fc.weight", {4, channels});
  floats("fc.bias", {4});
  set(node("Gemm", {"flat", "fc.weight", "fc.bias"}, "logits"), "transB", std::int64_t{1});
}

std::filesystem::path ModelBuilder::write(const std::filesystem::path& folder) const {
  const std::filesystem::path path = folder / "net.onnx";
  std::ofstream(path, std::ios::binary) << model_.SerializeAsString();
  return path;
}

void set(NodeProto& node, const std::string& name, std::int64_t value) {
  attribute(node, name, AttributeProto::INT).set_i(value);
}
void set(NodeProto& node, const std::string& name, float value) {
  attribute(node, name, AttributeProto::FLOAT).set_f(value);
}
void set(NodeProto& node, const std::string& name, const std::string& value) {
  attribute(node, name, AttributeProto::STRING).set_s(value);
}
void set(NodeProto& node, const std::string& name, const std::vector<std::int64_t>& values) {
  attribute(node, name, AttributeProto::INTS).mutable_ints()->Add(values.begin(), values.end());
}

}  // namespace offramp::test
