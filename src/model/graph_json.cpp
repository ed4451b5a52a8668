#include <array>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/overloaded.h"
#include "core/tensor.h"
#include "core/text.h"
#include "model/json_reader.h"
#include "model/limits.h"
#include "model/model_file.h"

namespace offramp::model {
namespace {

// Limits for a graph from a file, far above the needs of any classifier. infer_shapes() limits the
// products of these sizes.
constexpr std::int64_t kMaxSize = 65536;  // channels, sides, classes
constexpr std::int64_t kMaxKernel = 64;
constexpr std::int64_t kMaxFeatures = std::int64_t{1} << 24;
constexpr std::size_t kMaxSegments = 10'000;
constexpr std::size_t kMaxInputs = 1'000;

// Writing. Attributes of the first version of an operation are always written. Later ones are
// written only if they differ from what the first version did, because certificates contain a hash
// of the text, and programs of that time refuse exactly what they cannot compute.

Json to_json(const graph::Extent& extent) {
  if (extent.h == extent.w) return extent.h;
  return {extent.h, extent.w};
}
Json to_json(const graph::Padding& padding) {
  if (padding == graph::Padding(padding.top)) return padding.top;
  return {padding.top, padding.left, padding.bottom, padding.right};
}
void add_dilation(Json& json, const graph::Extent& dilation) {
  if (dilation != 1) json["dilation"] = to_json(dilation);
}

Json attributes(const graph::Conv& op) {
  Json json = {{"out_channels", op.out_channels},
               {"kernel", to_json(op.kernel)},
               {"stride", to_json(op.stride)},
               {"padding", to_json(op.padding)},
               {"groups", op.groups},
               {"bias", op.bias}};
  add_dilation(json, op.dilation);
  return json;
}
Json attributes(const graph::BatchNorm& op) { return {{"eps", op.eps}, {"momentum", op.momentum}}; }
Json pool_attributes(const core::OneOf<graph::MaxPool, graph::AvgPool> auto& op) {
  Json json = {{"kernel", to_json(op.kernel)},
               {"stride", to_json(op.stride)},
               {"padding", to_json(op.padding)}};
  if (op.ceil_mode) json["ceil_mode"] = true;
  return json;
}
Json attributes(const graph::MaxPool& op) {
  Json json = pool_attributes(op);
  add_dilation(json, op.dilation);
  return json;
}
Json attributes(const graph::AvgPool& op) {
  Json json = pool_attributes(op);
  if (!op.count_include_pad) json["count_include_pad"] = false;
  return json;
}
Json attributes(const graph::AdaptiveAvgPool& op) { return {{"grid", to_json(op.grid)}}; }
Json attributes(const graph::SpatialPyramidPool& op) { return {{"levels", op.levels}}; }
Json attributes(const graph::Linear& op) {
  return {{"out_features", op.out_features}, {"bias", op.bias}};
}
Json attributes(const graph::Clip& op) { return {{"min", op.min}, {"max", op.max}}; }
Json attributes(const graph::HardSigmoid& op) { return {{"alpha", op.alpha}, {"beta", op.beta}}; }
Json attributes(const graph::Gelu& op) { return {{"tanh", op.tanh}}; }
Json attributes(const graph::Slice& op) { return {{"begin", op.begin}, {"end", op.end}}; }
Json attributes(const graph::ChannelShuffle& op) { return {{"groups", op.groups}}; }
Json attributes(const graph::LayerNorm& op) { return {{"eps", op.eps}}; }

template <typename T>
concept WithoutAttributes =
    core::OneOf<T, graph::Relu, graph::Relu6, graph::Sigmoid, graph::HardSwish, graph::Silu,
                graph::Add, graph::Multiply, graph::Concat, graph::GlobalAvgPool, graph::Flatten>;

Json attributes(const WithoutAttributes auto&) { return Json::object(); }

Json nodes_to_json(const std::vector<graph::Node>& nodes) {
  Json result = Json::array();
  for (const graph::Node& node : nodes) {
    Json item = {{"name", node.name}, {"op", graph::op_name(node.op)}, {"inputs", node.inputs}};
    item.update(std::visit([](const auto& op) { return attributes(op); }, node.op));
    result.push_back(std::move(item));
  }
  return result;
}

// Reading. Every attribute that is always written must be present.

int small(JsonFields& fields, std::string_view key, std::int64_t low, std::int64_t high) {
  return static_cast<int>(fields.integer(key, low, high));
}

/// Reads one number, or a list of `count` numbers. @return one or `count` numbers
std::vector<int> one_or(std::size_t count, JsonFields& fields, std::string_view key, int low) {
  if (!fields.is_array(key)) return {small(fields, key, low, kMaxKernel)};
  const auto numbers = fields.integers(key, low, kMaxKernel, count);
  if (numbers.size() != count)
    throw Error(fmt::format("{}: got {} numbers, expected 1 or {}", fields.place_of(key),
                            numbers.size(), count));
  return {numbers.begin(), numbers.end()};
}

graph::Extent read_extent(JsonFields& fields, std::string_view key) {
  const std::vector<int> sides = one_or(2, fields, key, 1);
  return {sides.front(), sides.back()};
}

graph::Extent read_dilation(JsonFields& fields) {
  return fields.has("dilation") ? read_extent(fields, "dilation") : graph::Extent(1);
}

graph::Padding read_padding(JsonFields& fields) {
  const std::vector<int> sides = one_or(4, fields, "padding", 0);
  if (sides.size() == 1) return sides[0];
  return {sides[0], sides[1], sides[2], sides[3]};
}

bool read_flag(JsonFields& fields, std::string_view key, bool otherwise) {
  return fields.has(key) ? fields.boolean(key) : otherwise;
}

template <typename Windowed>
Windowed read_window(JsonFields& fields) {
  Windowed op;
  op.kernel = read_extent(fields, "kernel");
  op.stride = read_extent(fields, "stride");
  op.padding = read_padding(fields);
  return op;
}

void read(JsonFields& fields, graph::Conv& op) {
  op = read_window<graph::Conv>(fields);
  op.dilation = read_dilation(fields);
  op.out_channels = fields.integer("out_channels", 1, kMaxSize);
  op.groups = small(fields, "groups", 1, kMaxSize);
  op.bias = fields.boolean("bias");
}
void read(JsonFields& fields, graph::BatchNorm& op) {
  op.eps = fields.number("eps", 1e-12, 1);
  op.momentum = fields.number("momentum", 0, 1);
}
void read(JsonFields& fields, graph::MaxPool& op) {
  op = read_window<graph::MaxPool>(fields);
  op.dilation = read_dilation(fields);
  op.ceil_mode = read_flag(fields, "ceil_mode", false);
}
void read(JsonFields& fields, graph::AvgPool& op) {
  op = read_window<graph::AvgPool>(fields);
  op.ceil_mode = read_flag(fields, "ceil_mode", false);
  op.count_include_pad = read_flag(fields, "count_include_pad", true);
}
void read(JsonFields& fields, graph::AdaptiveAvgPool& op) { op.grid = read_extent(fields, "grid"); }
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
void read(JsonFields& fields, graph::Clip& op) {
  constexpr double kMost = std::numeric_limits<float>::max();
  op.min = fields.number("min", -kMost, kMost);
  op.max = fields.number("max", -kMost, kMost);
}
void read(JsonFields& fields, graph::HardSigmoid& op) {
  constexpr double kMost = std::numeric_limits<float>::max();
  op.alpha = fields.number("alpha", -kMost, kMost);
  op.beta = fields.number("beta", -kMost, kMost);
}
void read(JsonFields& fields, graph::Gelu& op) { op.tanh = fields.boolean("tanh"); }
void read(JsonFields& fields, graph::Slice& op) {
  op.begin = fields.integer("begin", 0, kMaxSize);
  op.end = fields.integer("end", 1, kMaxSize);
}
void read(JsonFields& fields, graph::ChannelShuffle& op) {
  op.groups = small(fields, "groups", 1, kMaxSize);
}
void read(JsonFields& fields, graph::LayerNorm& op) { op.eps = fields.number("eps", 1e-12, 1); }
void read(JsonFields&, WithoutAttributes auto&) {}

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
  const Json& json = segment.array(key, kMaxGraphNodes);
  num_nodes += json.size();
  if (num_nodes > kMaxGraphNodes)
    throw Error(
        fmt::format("{}: the graph has more than {} nodes", segment.place_of(key), kMaxGraphNodes));
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
