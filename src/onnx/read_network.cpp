#include "onnx/read_network.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/text.h"
#include "model/limits.h"
#include "onnx/evaluator.h"
#include "onnx/finish_network.h"
#include "onnx/open_model.h"

namespace offramp::onnx {
namespace {

namespace fs = std::filesystem;
using schema::TensorProto;

constexpr std::int64_t kMaxSide = 65'536;
constexpr std::size_t kNamedProblems = 3;
constexpr std::size_t kNamedOperators = 10;

/// The input of a network: the shape of the image and how ONNX shows it.
struct Input {
  std::string name;
  graph::Shape shape;
  AxisView view;
  std::int64_t batch = 1;
};

/// The sizes of a value; 0 where the file leaves one open.
Dims sizes_of(const schema::ValueInfoProto& value) {
  Dims sizes;
  for (const auto& dim : value.type().tensor_type().shape().dim())
    sizes.push_back(dim.has_dim_value() ? std::max<std::int64_t>(dim.dim_value(), 0) : 0);
  return sizes;
}

/// Returns a side of the images: from the file, or as the user gives it.
std::int64_t side(std::int64_t in_file, int given, std::string_view what) {
  if (in_file == 0 && given == 0)
    throw Error(
        fmt::format("the file leaves the {} of images open; give it with --image-size", what));
  if (in_file != 0 && given != 0 && in_file != given)
    throw Error(
        fmt::format("--image-size: the {} is {}, but the file is for {}", what, given, in_file));
  const std::int64_t size = in_file == 0 ? given : in_file;
  if (size < 1 || size > kMaxSide)
    throw Error(fmt::format("the {} of images is {}, expected 1 to {}", what, size, kMaxSide));
  return size;
}

Input find_input(const schema::GraphProto& graph, const std::optional<ImageSize>& size) {
  std::set<std::string_view> initializers;
  for (const TensorProto& tensor : graph.initializer()) initializers.insert(tensor.name());
  std::vector<const schema::ValueInfoProto*> inputs;
  for (const schema::ValueInfoProto& value : graph.input())
    if (!initializers.contains(value.name())) inputs.push_back(&value);
  if (inputs.size() != 1)
    throw Error(
        fmt::format("the network has {} inputs, expected one: a batch of images", inputs.size()));
  const schema::ValueInfoProto& value = *inputs[0];
  const std::string place = "input " + core::quote(value.name());
  const int type = value.type().tensor_type().elem_type();
  if (type != TensorProto::FLOAT && type != TensorProto::FLOAT16 && type != TensorProto::BFLOAT16 &&
      type != TensorProto::DOUBLE)
    throw Error(fmt::format(
        "{}: its elements must be floats; move the conversion of pixels out of the network",
        place));
  const Dims sizes = sizes_of(value);
  if (sizes.size() != 4)
    throw Error(fmt::format("{}: has {} dimensions, expected 4: [N,C,H,W]", place, sizes.size()));
  const auto is_color = [](std::int64_t channels) { return channels == 1 || channels == 3; };
  const bool channels_last = !is_color(sizes[1]) && is_color(sizes[3]);
  if (!channels_last && sizes[1] != 0 && !is_color(sizes[1]))
    throw Error(fmt::format("{}: its shape is {}, expected images of 1 or 3 channels", place,
                            core::to_string(sizes)));
  const ImageSize given = size.value_or(ImageSize{});
  const std::size_t row = channels_last ? 1 : 2;
  Input input{.name = value.name(),
              .shape = {channels_last   ? sizes[3]
                        : sizes[1] != 0 ? sizes[1]
                                        : 3,
                        side(sizes[row], given.height, "height"),
                        side(sizes[row + 1], given.width, "width")},
              .view = AxisView({}),
              .batch = std::max<std::int64_t>(sizes[0], 1)};
  input.view = AxisView::of(input.shape);
  if (channels_last) input.view = input.view.permuted({1, 2, 0});
  return input;
}

/// Returns the node that multiplies by a softmax, as attention does; null if there is none.
const schema::NodeProto* attention_in(
    const google::protobuf::RepeatedPtrField<schema::NodeProto>& nodes) {
  std::set<std::string_view> softmaxes;  // and what passes their values on
  for (const schema::NodeProto& node : nodes) {
    const std::string_view type = node.op_type();
    const bool reads_softmax = std::ranges::any_of(
        node.input(), [&](const std::string& name) { return softmaxes.contains(name); });
    if (reads_softmax && (type == "MatMul" || type == "Einsum")) return &node;
    if (type == "Softmax" ||
        (reads_softmax && (type == "Dropout" || type == "Identity" || type == "Cast")))
      softmaxes.insert(node.output().begin(), node.output().end());
  }
  return nullptr;
}

/// Returns the names of the operators that are not supported, "; operators that …: Mish, LpPool",
/// or "" if there are none.
std::string unsupported_operators(const std::vector<NodeProblem>& problems) {
  std::vector<std::string> names;
  for (const NodeProblem& problem : problems) {
    const std::string name = core::printable(problem.unsupported.substr(0, 100));
    if (!name.empty() && std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  if (names.empty()) return "";
  const std::size_t more = names.size() - std::min(names.size(), kNamedOperators);
  names.resize(names.size() - more);
  return fmt::format("; operators that are not supported: {}{}", fmt::join(names, ", "),
                     more > 0 ? fmt::format(" and {} more", more) : "");
}

/// A transformer has dozens of nodes that cannot be imported; one line says why.
void throw_if_attention(const schema::ModelProto& model, const std::vector<NodeProblem>& problems,
                        std::size_t nodes) {
  const schema::NodeProto* found = attention_in(model.graph().node());
  for (const schema::FunctionProto& function : model.functions())
    if (found == nullptr) found = attention_in(function.node());
  if (found == nullptr) return;
  throw Error(fmt::format(
      "{} of {} nodes cannot be imported: the network has attention, as transformers have (node "
      "{}); offramp runs convolutional classifiers{}",
      problems.size(), nodes, core::quote(found->name().empty() ? found->op_type() : found->name()),
      unsupported_operators(problems)));
}

/// Joins the problems to one line: the number, the first of them with their reasons, and the names
/// of the other operators.
[[noreturn]] void throw_problems(const std::vector<NodeProblem>& problems, std::size_t nodes) {
  std::string text = fmt::format("{} of {} nodes cannot be imported: ", problems.size(), nodes);
  for (std::size_t i = 0; i < std::min(problems.size(), kNamedProblems); ++i)
    text += fmt::format("{}{}: {}", i == 0 ? "" : "; ", problems[i].node, problems[i].reason);
  if (problems.size() > kNamedProblems)
    text += fmt::format("; and {} more", problems.size() - kNamedProblems);
  throw Error(fmt::format("{}", text));
}

/// Returns the draft with the logits {classes}, without a softmax at the end.
int find_logits(NetworkDraft& network, const Value& output, std::vector<std::string>& notes) {
  const auto* tensor = std::get_if<NetworkTensor>(&output);
  if (std::holds_alternative<Unread>(output))
    throw Error("the output needs an additional output of a node, which is not supported");
  if (tensor == nullptr) throw Error("the output does not depend on the image");
  int logits = tensor->draft;
  AxisView view = tensor->view;
  while (network.as<Softmax>(logits) != nullptr) {
    logits = network[logits].inputs[0];
    notes.emplace_back(
        "the softmax at the end was left out: offramp computes probabilities from logits");
  }
  if (network.as<graph::Sigmoid>(logits) != nullptr)
    throw Error(
        "the network ends in a sigmoid; offramp needs one logit per class, of which an image has "
        "exactly one");
  const Dims sizes = view.sizes();
  std::int64_t count = 1;
  for (const std::int64_t size : sizes) count *= size;
  if (sizes.empty() || count != *std::ranges::max_element(sizes))
    throw Error(fmt::format("the output has the shape [N,{}], expected [N,classes]",
                            fmt::join(sizes, ",")));
  const auto flat = view.reshaped({count});
  std::vector<std::int64_t> order;
  logits = as_vector(network, {logits, flat ? *flat : view}, order);
  if (!order.empty()) throw Error("the order of the classes in the output is not supported");
  if (logits == 0) throw Error("the output is the image itself");
  return logits;
}

/// Checks what a model file requires, so that an error names the ONNX file.
void check_network(const ImportedNetwork& network) {
  const graph::Segment& segment = network.graph.segments.front();
  if (segment.nodes.size() > model::kMaxGraphNodes)
    throw Error(fmt::format("the network has {} operations, at most {} are supported",
                            segment.nodes.size(), model::kMaxGraphNodes));
  for (const auto& [name, tensor] : network.weights)
    for (const float value : tensor.as<float>())
      if (!std::isfinite(value))
        throw Error(fmt::format("tensor {}: a value is not finite: {}", core::quote(name), value));
}

std::string producer_of(const schema::ModelProto& model) {
  std::string producer = model.producer_name();
  if (!model.producer_version().empty()) producer += " " + model.producer_version();
  return core::printable(producer.substr(0, 200));
}

}  // namespace

ImportedNetwork read_network(const fs::path& path, const std::optional<ImageSize>& size) {
  try {
    ImportedNetwork result;
    const auto file = std::make_unique<const core::MappedFile>(path);
    result.bytes = file->bytes().size();
    const ParsedModel parsed = parse_model(file->bytes());
    const schema::ModelProto& model = parsed.proto;
    core::HashOfValues hash;
    hash.add(file->bytes());
    result.hash = hash.text();
    file->drop(file->bytes());
    result.producer = producer_of(model);
    result.opset = opset_of(model);

    const schema::GraphProto& graph = model.graph();
    Input input = find_input(graph, size);
    if (graph.output_size() == 0) throw Error("the network has no output");
    NetworkDraft network(input.shape);
    TensorReader tensors(path.parent_path());
    for (std::size_t i = 0; i < parsed.raw_data.size(); ++i)
      if (!parsed.raw_data[i].empty())
        tensors.place(graph.initializer(static_cast<int>(i)), *file, parsed.raw_data[i]);
    Call::Model shared{.network = network,
                       .batch = input.batch,
                       .tensors = tensors,
                       .file_bytes = result.bytes,
                       .notes = result.notes};
    Evaluator evaluator(model, tensors, shared);
    evaluator.define(input.name, NetworkTensor{0, input.view});
    evaluator.run(graph);
    result.nodes = evaluator.num_nodes();
    result.bytes += tensors.external_bytes();
    std::vector<NodeProblem> problems = evaluator.problems();
    if (!problems.empty()) {
      throw_if_attention(model, problems, result.nodes);
      throw_problems(problems, result.nodes);
    }

    if (graph.output_size() > 1)
      result.notes.push_back(
          fmt::format("the network has {} outputs; the first, {}, was taken as the logits",
                      graph.output_size(), core::quote(graph.output(0).name())));
    const int logits = find_logits(network, evaluator.value(graph.output(0).name()), result.notes);
    const std::string name = core::printable(path.stem().string().substr(0, 100));
    FinishedNetwork finished = finish_network(network, logits, name, problems);
    if (!problems.empty()) throw_problems(problems, result.nodes);
    result.graph = std::move(finished.graph);
    result.weights = std::move(finished.weights);
    result.input_scale = std::move(finished.input_scale);
    result.input_shift = std::move(finished.input_shift);
    result.ranges = std::move(finished.ranges);
    result.is_quantised = shared.is_quantised;
    graph::infer_shapes(result.graph);
    check_network(result);
    return result;
  } catch (const Error& error) {
    core::throw_with_place(path.string(), error);
  }
}

}  // namespace offramp::onnx
