#include "onnx/node_writer.h"

#include <cmath>
#include <numbers>

#include "core/overloaded.h"

namespace offramp::onnx {

using schema::AttributeProto;
using schema::GraphProto;
using schema::NodeProto;
using schema::TensorProto;

void set_attribute(NodeProto& node, const std::string& name, std::int64_t value) {
  AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(AttributeProto::INT);
  attribute.set_i(value);
}
void set_attribute(NodeProto& node, const std::string& name, float value) {
  AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(AttributeProto::FLOAT);
  attribute.set_f(value);
}
void set_attribute(NodeProto& node, const std::string& name,
                   const std::vector<std::int64_t>& values) {
  AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(AttributeProto::INTS);
  attribute.mutable_ints()->Add(values.begin(), values.end());
}

NodeProto& NodeWriter::add(GraphProto& graph, const std::string& type,
                           const std::vector<std::string>& inputs, const std::string& output) {
  NodeProto& node = *graph.add_node();
  node.set_name(output + "/" + type);
  node.set_op_type(type);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

std::string NodeWriter::tensor(const std::string& name, int type,
                               const std::vector<std::int64_t>& shape,
                               std::span<const std::byte> bytes) {
  TensorProto& tensor = *main_.add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(type);
  tensor.mutable_dims()->Add(shape.begin(), shape.end());
  tensor.set_raw_data(bytes.data(), bytes.size());
  return name;
}

std::string NodeWriter::floats(const std::string& name, const std::vector<std::int64_t>& shape,
                               std::span<const float> values) {
  return tensor(name, TensorProto::FLOAT, shape, std::as_bytes(values));
}

std::string NodeWriter::scalar(const std::string& name, float value) {
  return floats(name, {}, std::span(&value, 1));
}

std::string NodeWriter::integers(const std::string& name, const std::vector<std::int64_t>& values) {
  return tensor(name, TensorProto::INT64, {static_cast<std::int64_t>(values.size())},
                std::as_bytes(std::span(values)));
}

void NodeWriter::window(NodeProto& node, const graph::Extent& kernel, const graph::Extent& stride,
                        const graph::Padding& padding) {
  set_attribute(node, "kernel_shape", {kernel.h, kernel.w});
  set_attribute(node, "strides", {stride.h, stride.w});
  set_attribute(node, "pads", {padding.top, padding.left, padding.bottom, padding.right});
}

std::string NodeWriter::slice(GraphProto& graph, const std::string& name, const std::string& input,
                              std::int64_t axis, std::int64_t begin, std::int64_t end) {
  add(graph, "Slice",
      {input, integers(name + "/begin", {begin}), integers(name + "/end", {end}),
       integers(name + "/axis", {axis})},
      name);
  return name;
}

std::string NodeWriter::bins(GraphProto& graph, const std::string& name, const std::string& input,
                             int rows, int columns, const std::string& reduction) {
  const graph::Shape& in = shape(input);
  const auto bin = [](std::int64_t size, int count, int i) {
    return Bin{size * i / count, (size * (i + 1) + count - 1) / count};
  };
  std::vector<std::string> values;
  for (int i = 0; i < rows; ++i) {
    const Bin row = bin(in[1], rows, i);
    const std::string band =
        slice(graph, name + "/row_" + std::to_string(i), input, 2, row.begin, row.end);
    for (int j = 0; j < columns; ++j) {
      const Bin column = bin(in[2], columns, j);
      const std::string cell = band + "_" + std::to_string(j);
      slice(graph, cell, band, 3, column.begin, column.end);
      set_attribute(add(graph, reduction, {cell}, cell + "/value"), "axes",
                    std::vector<std::int64_t>{2, 3});
      values.push_back(cell + "/value");
    }
  }
  set_attribute(add(graph, "Concat", values, name), "axis", std::int64_t{2});
  return name;
}

void NodeWriter::add(GraphProto& graph, const graph::Node& node) {
  const std::string& out = node.name;
  const std::string& in = node.inputs.front();
  const auto parameter = [&](const char* suffix) { return out + "." + suffix; };
  const auto step = [&](const char* suffix) { return out + "/" + suffix; };
  std::visit(
      core::overloaded{
          [&](const graph::Conv& op) {
            std::vector<std::string> inputs = {in, parameter("weight")};
            if (op.bias) inputs.push_back(parameter("bias"));
            NodeProto& conv = add(graph, "Conv", inputs, out);
            window(conv, op.kernel, op.stride, op.padding);
            set_attribute(conv, "dilations", {op.dilation.h, op.dilation.w});
            set_attribute(conv, "group", std::int64_t{op.groups});
          },
          [&](const graph::BatchNorm& op) {
            set_attribute(add(graph, "BatchNormalization",
                              {in, parameter("weight"), parameter("bias"),
                               parameter("running_mean"), parameter("running_var")},
                              out),
                          "epsilon", static_cast<float>(op.eps));
          },
          [&](const graph::Relu&) { add(graph, "Relu", {in}, out); },
          [&](const graph::Relu6&) {
            add(graph, "Clip", {in, scalar(step("min"), 0), scalar(step("max"), 6)}, out);
          },
          [&](const graph::Clip& op) {
            add(graph, "Clip",
                {in, scalar(step("min"), static_cast<float>(op.min)),
                 scalar(step("max"), static_cast<float>(op.max))},
                out);
          },
          [&](const graph::Sigmoid&) { add(graph, "Sigmoid", {in}, out); },
          [&](const graph::HardSigmoid& op) {
            NodeProto& gate = add(graph, "HardSigmoid", {in}, out);
            set_attribute(gate, "alpha", static_cast<float>(op.alpha));
            set_attribute(gate, "beta", static_cast<float>(op.beta));
          },
          [&](const graph::HardSwish&) { add(graph, "HardSwish", {in}, out); },
          [&](const graph::Silu&) {
            add(graph, "Sigmoid", {in}, step("gate"));
            add(graph, "Mul", {in, step("gate")}, out);
          },
          [&](const graph::Gelu& op) {
            if (op.tanh) {  // x / 2 (1 + tanh(√(2 / π) (x + 0.044715 x³)))
              add(graph, "Pow", {in, scalar(step("three"), 3)}, step("cube"));
              add(graph, "Mul", {step("cube"), scalar(step("factor"), 0.044715f)}, step("term"));
              add(graph, "Add", {in, step("term")}, step("inner"));
              const double root = std::sqrt(2 / std::numbers::pi);
              add(graph, "Mul", {step("inner"), scalar(step("root"), static_cast<float>(root))},
                  step("scaled"));
              add(graph, "Tanh", {step("scaled")}, step("function"));
            } else {  // x / 2 (1 + erf(x / √2))
              add(graph, "Div", {in, scalar(step("root"), static_cast<float>(std::numbers::sqrt2))},
                  step("scaled"));
              add(graph, "Erf", {step("scaled")}, step("function"));
            }
            add(graph, "Add", {step("function"), scalar(step("one"), 1)}, step("sum"));
            add(graph, "Mul", {in, step("sum")}, step("product"));
            add(graph, "Mul", {step("product"), scalar(step("half"), 0.5f)}, out);
          },
          [&](const graph::Add&) {
            add(graph, node.inputs.size() == 2 ? "Add" : "Sum", node.inputs, out);
          },
          [&](const graph::Multiply&) {
            std::string factor = node.inputs[1];
            if (shape(factor).size() < shape(in).size()) {
              add(graph, "Unsqueeze", {factor, integers(step("axes"), {2, 3})}, step("factor"));
              factor = step("factor");
            }
            add(graph, "Mul", {in, factor}, out);
          },
          [&](const graph::Concat&) {
            set_attribute(add(graph, "Concat", node.inputs, out), "axis", std::int64_t{1});
          },
          [&](const graph::Slice& op) { slice(graph, out, in, 1, op.begin, op.end); },
          [&](const graph::ChannelShuffle& op) {
            const graph::Shape& s = shape(in);
            const std::int64_t groups = op.groups;
            add(graph, "Reshape",
                {in, integers(step("split_shape"), {0, groups, s[0] / groups, s[1], s[2]})},
                step("split"));
            set_attribute(add(graph, "Transpose", {step("split")}, step("swapped")), "perm",
                          {0, 2, 1, 3, 4});
            add(graph, "Reshape", {step("swapped"), integers(step("shape"), {0, s[0], s[1], s[2]})},
                out);
          },
          [&](const graph::LayerNorm& op) {
            const bool image = shape(in).size() == 3;
            if (image)
              set_attribute(add(graph, "Transpose", {in}, step("channels_last")), "perm",
                            {0, 2, 3, 1});
            NodeProto& norm =
                add(graph, "LayerNormalization",
                    {image ? step("channels_last") : in, parameter("weight"), parameter("bias")},
                    image ? step("normalised") : out);
            set_attribute(norm, "axis", std::int64_t{-1});
            set_attribute(norm, "epsilon", static_cast<float>(op.eps));
            if (image)
              set_attribute(add(graph, "Transpose", {step("normalised")}, out), "perm",
                            {0, 3, 1, 2});
          },
          [&](const graph::MaxPool& op) {
            NodeProto& pool = add(graph, "MaxPool", {in}, out);
            window(pool, op.kernel, op.stride, op.padding);
            set_attribute(pool, "dilations", {op.dilation.h, op.dilation.w});
            set_attribute(pool, "ceil_mode", std::int64_t{op.ceil_mode});
          },
          [&](const graph::AvgPool& op) {
            NodeProto& pool = add(graph, "AveragePool", {in}, out);
            window(pool, op.kernel, op.stride, op.padding);
            set_attribute(pool, "ceil_mode", std::int64_t{op.ceil_mode});
            set_attribute(pool, "count_include_pad", std::int64_t{op.count_include_pad});
          },
          [&](const graph::AdaptiveAvgPool& op) {
            bins(graph, step("bins"), in, op.grid.h, op.grid.w, "ReduceMean");
            add(graph, "Reshape",
                {step("bins"), integers(step("shape"), {0, shape(in)[0], op.grid.h, op.grid.w})},
                out);
          },
          [&](const graph::GlobalAvgPool&) {
            add(graph, "GlobalAveragePool", {in}, step("mean"));
            add(graph, "Flatten", {step("mean")}, out);
          },
          [&](const graph::SpatialPyramidPool& op) {
            std::vector<std::string> levels;
            for (std::size_t i = 0; i < op.levels.size(); ++i) {
              const std::string level = out + "/level_" + std::to_string(i);
              const int side = op.levels[i];
              const graph::Shape& s = shape(in);
              if (s[1] % side == 0 && s[2] % side == 0) {
                const graph::Extent kernel{static_cast<int>(s[1] / side),
                                           static_cast<int>(s[2] / side)};
                window(add(graph, "MaxPool", {in}, level), kernel, kernel, 0);
              } else {
                bins(graph, level, in, side, side, "ReduceMax");
              }
              add(graph, "Flatten", {level}, level + "/flat");
              levels.push_back(level + "/flat");
            }
            set_attribute(add(graph, "Concat", levels, out), "axis", std::int64_t{1});
          },
          [&](const graph::Flatten&) { add(graph, "Flatten", {in}, out); },
          [&](const graph::Linear& op) {
            std::vector<std::string> inputs = {in, parameter("weight")};
            if (op.bias) inputs.push_back(parameter("bias"));
            set_attribute(add(graph, "Gemm", inputs, out), "transB", std::int64_t{1});
          },
      },
      node.op);
}

}  // namespace offramp::onnx
