#include <array>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/overloaded.h"
#include "core/tensor.h"
#include "core/text.h"
#include "model/json_reader.h"
#include "model/model_file.h"

namespace offramp::model {
namespace {

// Limits for a graph from a file, far above the needs of any classifier. infer_shapes() limits the
// products of these sizes.
constexpr std::int64_t kMaxSize = 65536;  // channels, sides, classes
constexpr std::int64_t kMaxKernel = 64;
constexpr std::int64_t kMaxFeatures = std::int64_t{1} << 24;
constexpr std::size_t kMaxSegments = 10'000;
// A ResNet of 1202 layers has about 4,500 nodes. With this limit, reading a model spends less than
// a second on its nodes; compiling 3,300 convolutions of different shapes takes some seconds.
constexpr std::size_t kMaxNodes = 10'000;
constexpr std::size_t kMaxInputs = 1'000;

// Writing. Every attribute of an operation is written, so that readers need no default values.

Json attributes(const graph::Conv& op) {
  return {{"out_channels", op.out_channels}, {"kernel", op.kernel}, {"stride", op.stride},
          {"padding", op.padding},           {"groups", op.groups}, {"bias", op.bias}};
}
Json attributes(const graph::BatchNorm& op) { return {{"eps", op.eps}, {"momentum", op.momentum}}; }
Json attributes(const graph::MaxPool& op) {
  return {{"kernel", op.kernel}, {"stride", op.stride}, {"padding", op.padding}};
}
Json attributes(const graph::AvgPool& op) {
  return {{"kernel", op.kernel}, {"stride", op.stride}, {"padding", op.padding}};
}
Json attributes(const graph::SpatialPyramidPool& op) { return {{"levels", op.levels}}; }
Json attributes(const graph::Linear& op) {
  return {{"out_features", op.out_features}, {"bias", op.bias}};
}
Json attributes(
    const core::OneOf<graph::Relu, graph::Relu6, graph::Add, graph::Concat, graph::GlobalAvgPool,
                      graph::Flatten> auto& /*without attributes*/) {
  return Json::object();
}

Json nodes_to_json(const std::vector<graph::Node>& nodes) {
  Json result = Json::array();
  for (const graph::Node& node : nodes) {
    Json item = {{"name", node.name}, {"op", graph::op_name(node.op)}, {"inputs", node.inputs}};
    item.update(std::visit([](const auto& op) { return attributes(op); }, node.op));
    result.push_back(std::move(item));
  }
  return result;
}

// Reading. Every attribute must be present.

int small(JsonFields& fields, std::string_view key, std::int64_t low, std::int64_t high) {
  return static_cast<int>(fields.integer(key, low, high));
}

template <typename Windowed>
Windowed read_window(JsonFields& fields) {
  Windowed op;
  op.kernel = small(fields, "kernel", 1, kMaxKernel);
  op.stride = small(fields, "stride", 1, kMaxKernel);
  op.padding = small(fields, "padding", 0, kMaxKernel);
  return op;
}

void read(JsonFields& fields, graph::Conv& op) {
  op = read_window<graph::Conv>(fields);
  op.out_channels = fields.integer("out_channels", 1, kMaxSize);
  op.groups = small(fields, "groups", 1, kMaxSize);
  op.bias = fields.boolean("bias");
}
void read(JsonFields& fields, graph::BatchNorm& op) {
  op.eps = fields.number("eps", 1e-12, 1);
  op.momentum = fields.number("momentum", 0, 1);
}
void read(JsonFields& fields, graph::MaxPool& op) { op = read_window<graph::MaxPool>(fields); }
void read(JsonFields& fields, graph::AvgPool& op) { op = read_window<graph::AvgPool>(fields); }
void read(JsonFields& fields, graph::SpatialPyramidPool& op) {
  const auto levels = fields.integers("levels", 1, 64, 16);
  if (levels.empty())
    throw Error(fmt::format("{}: expected at least one level", fields.place_of("levels")));
  op.levels.assign(levels.begin(), levels.end());
}
void read(JsonFields& fields, graph::Linear& op) {
  op.out_features = fields.integer("out_features", 1, kMaxFeatures);
  op.bias = fields.boolean("bias");
}
void read(JsonFields&,
          core::OneOf<graph::Relu, graph::Relu6, graph::Add, graph::Concat, graph::GlobalAvgPool,
                      graph::Flatten> auto& /*without attributes*/) {}

/// One operation of each kind, in the order of Op.
template <std::size_t... I>
std::vector<graph::Op> all_ops(std::index_sequence<I...>) {
  return {graph::Op(std::in_place_index<I>)...};
}

graph::Op read_op(JsonFields& fields) {
  static const std::vector<graph::Op> ops =
      all_ops(std::make_index_sequence<std::variant_size_v<graph::Op>>());
  const std::string name = fields.text("op");
  std::vector<std::string> known;
  for (graph::Op op : ops) {
    if (graph::op_name(op) == name) {
      std::visit([&](auto& attributes_of) { read(fields, attributes_of); }, op);
      return op;
    }
    known.emplace_back(graph::op_name(op));
  }
  throw Error(fmt::format("{}: unknown operation {}{}", fields.place_of("op"), core::quote(name),
                          core::suggestion(name, known)));
}

std::string read_name(JsonFields& fields, std::string_view key) {
  std::string name = fields.text(key);
  if (name.empty()) throw Error(fmt::format("{} is empty", fields.place_of(key)));
  return name;
}

std::vector<graph::Node> read_nodes(JsonFields& segment, std::string_view key,
                                    std::size_t& num_nodes) {
  const Json& json = segment.array(key, kMaxNodes);
  num_nodes += json.size();
  if (num_nodes > kMaxNodes)
    throw Error(
        fmt::format("{}: the graph has more than {} nodes", segment.place_of(key), kMaxNodes));
  std::vector<graph::Node> nodes;
  nodes.reserve(json.size());
  for (std::size_t i = 0; i < json.size(); ++i) {
    JsonFields fields(json[i], segment.place_of(key, i));
    graph::Node node;
    node.name = read_name(fields, "name");
    node.op = read_op(fields);
    node.inputs = fields.texts("inputs", kMaxInputs);
    if (node.inputs.empty())
      throw Error(fmt::format("{}: expected at least one input", fields.place_of("inputs")));
    fields.finish();
    nodes.push_back(std::move(node));
  }
  return nodes;
}

}  // namespace

std::string graph_to_json(const graph::Graph& graph) {
  Json segments = Json::array();
  for (const graph::Segment& segment : graph.segments)
    segments.push_back({{"name", segment.name},
                        {"nodes", nodes_to_json(segment.nodes)},
                        {"outputs", segment.outputs},
                        {"feature", segment.feature},
                        {"head", nodes_to_json(segment.head)}});
  const Json json = {{"name", graph.name},
                     {"input", graph.input},
                     {"classes", graph.classes},
                     {"segments", std::move(segments)}};
  try {
    return json.dump();
  } catch (const Json::exception&) {
    throw Error(fmt::format("graph {}: a name is not UTF-8", core::quote(graph.name)));
  }
}

graph::Graph graph_from_json(const std::string& text) {
  const Json json = parse_json(text);
  JsonFields fields(json, "");
  graph::Graph graph;
  graph.name = fields.text("name");
  graph.input = fields.integers("input", 1, kMaxSize, 3);
  if (graph.input.size() != 3)
    throw Error(fmt::format("input: got {}, expected [C,H,W]", core::to_string(graph.input)));
  graph.classes = fields.integer("classes", 1, kMaxSize);
  const Json& segments = fields.array("segments", kMaxSegments);
  std::size_t num_nodes = 0;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    JsonFields segment_fields(segments[i], fields.place_of("segments", i));
    graph::Segment segment;
    segment.name = segment_fields.text("name");
    segment.nodes = read_nodes(segment_fields, "nodes", num_nodes);
    segment.outputs = segment_fields.texts("outputs", kMaxInputs);
    segment.feature = segment_fields.text("feature");
    segment.head = read_nodes(segment_fields, "head", num_nodes);
    segment_fields.finish();
    graph.segments.push_back(std::move(segment));
  }
  fields.finish();
  return graph;
}

}  // namespace offramp::model
