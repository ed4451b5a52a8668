#include "onnx/write_network.h"

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/text.h"
#include "core/version.h"
#include "onnx/node_writer.h"
#include "policy/policy.h"

namespace offramp::onnx {
namespace {

using policy::Criterion;
using policy::Ensemble;
using schema::GraphProto;
using schema::NodeProto;
using schema::TensorProto;

constexpr std::int64_t kOpset = 17;
constexpr std::array<std::pair<Form, std::string_view>, 3> kForms = {
    {{Form::conditional, "conditional"}, {Form::all_exits, "all-exits"}, {Form::plain, "plain"}}};

/// Declares an input or output. A size below 0 is the batch, whose size is open.
void declare(schema::ValueInfoProto& value, const std::string& name, int type,
             const std::vector<std::int64_t>& shape) {
  value.set_name(name);
  auto& tensor = *value.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(type);
  for (const std::int64_t size : shape) {
    auto& dim = *tensor.mutable_shape()->add_dim();
    if (size < 0)
      dim.set_dim_param("N");
    else
      dim.set_dim_value(size);
  }
}

/// Writes one model. The names of tensors of the network are kept; what is added is called
/// "exit_<k>/…" or "<node>/…", which no tensor of the network can be called.
class NetworkWriter {
 public:
  /// @param quantised  null: the network is written in f32
  NetworkWriter(const model::ModelFile& model, Form form, const QuantisedNetwork* quantised)
      : model_(model),
        form_(form),
        quantised_(quantised),
        shapes_(graph::infer_shapes(model.graph)) {
    if (quantised == nullptr) return;
    for (const graph::Segment& segment : model.graph.segments)
      for (const auto* nodes : {&segment.nodes, &segment.head})
        for (const graph::Node& node : *nodes)
          for (const std::string& input : node.inputs) readers_[input].push_back(&node);
  }

  std::string run() {
    schema::ModelProto file;
    file.set_ir_version(8);
    file.set_producer_name("offramp");
    file.set_producer_version(core::kVersion);
    auto& opset = *file.add_opset_import();
    opset.set_domain("");
    opset.set_version(kOpset);
    add_metadata(file, "classes", class_list());
    GraphProto& main = *file.mutable_graph();
    main.set_name(core::printable(model_.graph.name.empty() ? "network" : model_.graph.name));
    NodeWriter writer(main, shapes_);
    writer_ = &writer;

    const std::int64_t batch = form_ == Form::conditional ? 1 : -1;
    const graph::Shape& image = model_.graph.input;
    declare(*main.add_input(), "image", TensorProto::FLOAT, {batch, image[0], image[1], image[2]});
    add_preprocessing(main);
    if (form_ == Form::conditional)
      write_conditional(main);
    else
      write_exits(main);
    for (const graph::Parameter& parameter : graph::parameters(model_.graph))
      if (written_.contains(parameter.segment) && !in_integers_.contains(parameter.name) &&
          (!parameter.in_head || heads_.contains(parameter.segment)))
        writer.floats(parameter.name, parameter.shape,
                      model_.weights.find(parameter.name)->second.to_f32());
    if (file.ByteSizeLong() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
      throw Error("the ONNX file would be larger than 2 GB, which ONNX does not allow");
    return file.SerializeAsString();
  }

 private:
  static void add_metadata(schema::ModelProto& file, const std::string& key,
                           const std::string& value) {
    auto& entry = *file.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }

  /// The names of the classes, one per line.
  std::string class_list() const { return fmt::format("{}", fmt::join(model_.classes, "\n")); }

  void add_preprocessing(GraphProto& main) {
    const auto channels = static_cast<std::size_t>(model_.graph.input[0]);
    const std::vector<std::int64_t> shape = {1, model_.graph.input[0], 1, 1};
    const core::Preprocessing& values = model_.preprocessing;
    if (channels > values.mean.size()) throw Error("the network's input has more than 3 channels");
    writer_->add(
        main, "Sub",
        {"image", writer_->floats("image/mean", shape, std::span(values.mean).first(channels))},
        "image/centred");
    writer_->add(main, "Div",
                 {"image/centred",
                  writer_->floats("image/std", shape, std::span(values.std).first(channels))},
                 std::string(graph::kInput));
    quantise_output(main, std::string(graph::kInput));
  }

  void write_nodes(GraphProto& graph, const std::vector<graph::Node>& nodes) {
    for (const graph::Node& node : nodes) {
      if (quantised_ == nullptr) {
        writer_->add(graph, node);
        continue;
      }
      if (std::holds_alternative<graph::Conv>(node.op)) write_integers(graph, node);
      graph::Node local = node;
      for (std::string& input : local.inputs) input = restored_for(node, graph, input);
      writer_->add(graph, local);
      quantise_output(graph, node.name);
    }
  }

  // Quantisation. A tensor x in 8 bits is computed as "x/exact", rounded as "x/integers", and read
  // as x.

  const QuantisedTensor* quantised(const std::string& tensor) const {
    const auto found = quantised_->tensors.find(tensor);
    return found == quantised_->tensors.end() ? nullptr : &found->second;
  }

  void restore(GraphProto& graph, const std::string& tensor, const std::string& output) {
    writer_->add(graph, "DequantizeLinear",
                 {tensor + "/integers", tensor + "/scale", tensor + "/zero"}, output);
  }

  /// Rounds the output of the node that was written last, if it is stored in 8 bits.
  void quantise_output(GraphProto& graph, const std::string& tensor) {
    const QuantisedTensor* element = quantised_ == nullptr ? nullptr : quantised(tensor);
    if (element == nullptr) return;
    const std::string exact = tensor + "/exact";
    graph.mutable_node()->rbegin()->set_output(0, exact);
    writer_->scalar(tensor + "/scale", element->scale);
    writer_->tensor(tensor + "/zero", element->is_signed ? TensorProto::INT8 : TensorProto::UINT8,
                    {}, std::array{std::byte{0}});
    writer_->add(graph, "QuantizeLinear", {exact, tensor + "/scale", tensor + "/zero"},
                 tensor + "/integers");
    restore(graph, tensor, tensor);
    graph_of_[tensor] = &graph;
  }

  /// Each node in the branch of an If restores the 8-bit tensors of the graph around it itself,
  /// because ONNX Runtime computes in integers only where both nodes are in one graph.
  /// @return the name of the tensor for this node
  std::string restored_for(const graph::Node& node, GraphProto& graph, const std::string& tensor) {
    const auto outer = graph_of_.find(tensor);
    if (outer == graph_of_.end() || outer->second == &graph) return tensor;
    std::string local = fmt::format("{}/for_{}", tensor, node.name);
    if (shapes_.emplace(local, shapes_.find(tensor)->second).second) restore(graph, tensor, local);
    return local;
  }

  /// Writes the 8-bit weight of a convolution, and its bias as 32-bit integers where ONNX Runtime
  /// needs that to compute in integers.
  void write_integers(GraphProto& graph, const graph::Node& node) {
    const std::string name = node.name + ".weight", bias = node.name + ".bias";
    const auto found = quantised_->weights.find(name);
    if (found == quantised_->weights.end()) return;
    const QuantisedWeight& weight = found->second;
    const auto channels = static_cast<std::int64_t>(weight.scales.size());
    const std::vector<std::byte> zeros(weight.scales.size());
    set_attribute(
        writer_->add(graph, "DequantizeLinear",
                     {writer_->tensor(name + "/integers", TensorProto::INT8,
                                      model_.weights.find(name)->second.shape,
                                      std::as_bytes(std::span(weight.integers))),
                      writer_->floats(name + "/scales", {channels}, weight.scales),
                      writer_->tensor(name + "/zeros", TensorProto::INT8, {channels}, zeros)},
                     name),
        "axis", std::int64_t{0});
    in_integers_.insert(name);
    const QuantisedTensor* input = quantised(node.inputs[0]);
    if (input == nullptr || !std::get<graph::Conv>(node.op).bias || !is_rounded_next(node)) return;
    // The scale of the bias is that of the sums of products.
    std::vector<std::int32_t> steps;
    std::vector<float> scales;
    const std::vector<float> values = model_.weights.find(bias)->second.to_f32();
    for (std::size_t c = 0; c < values.size(); ++c) {
      scales.push_back(input->scale * weight.scales[c]);
      const double count = std::nearbyint(static_cast<double>(values[c]) / scales.back());
      if (!(std::abs(count) < 1e9)) return;  // stays in f32
      steps.push_back(static_cast<std::int32_t>(count));
    }
    set_attribute(writer_->add(graph, "DequantizeLinear",
                               {writer_->tensor(bias + "/integers", TensorProto::INT32, {channels},
                                                std::as_bytes(std::span(steps))),
                                writer_->floats(bias + "/scales", {channels}, scales)},
                               bias),
                  "axis", std::int64_t{0});
    in_integers_.insert(bias);
  }

  /// Whether the output of a convolution is rounded to 8 bits, at most after a ReLU: not where a
  /// sum or another activation is computed in f32 first.
  bool is_rounded_next(const graph::Node& node) const {
    if (quantised(node.name) != nullptr) return true;
    const auto readers = readers_.find(node.name);
    if (readers == readers_.end() || readers->second.size() != 1) return false;
    const graph::Node& next = *readers->second.front();
    return std::holds_alternative<graph::Relu>(next.op) && quantised(next.name) != nullptr;
  }

  /// Writes the body of a segment and, if it is asked for, the head. @return the logits
  std::string write_segment(GraphProto& graph, int index, bool head) {
    const graph::Segment& segment = model_.graph.segments[static_cast<std::size_t>(index)];
    write_nodes(graph, segment.nodes);
    written_.insert(index);
    if (!head || segment.head.empty()) return {};
    write_nodes(graph, segment.head);
    heads_.insert(index);
    return segment.head.back().name;
  }

  // Functions that write the forms all-exits and plain.

  void write_exits(GraphProto& main) {
    const int last = static_cast<int>(model_.graph.segments.size()) - 1;
    std::vector<std::string> logits;
    for (int i = 0; i <= last; ++i) {
      const std::string name = write_segment(main, i, form_ == Form::all_exits || i == last);
      if (!name.empty()) logits.push_back(name);
    }
    if (form_ == Form::plain) {
      writer_->add(main, "Identity", {logits.back()}, "logits");
      return declare(*main.add_output(), "logits", TensorProto::FLOAT, {-1, model_.graph.classes});
    }
    const std::string axes = writer_->integers("logits/axes", {0});
    std::vector<std::string> rows;
    for (const std::string& name : logits)
      rows.push_back(writer_->add(main, "Unsqueeze", {name, axes}, name + "/row").output(0));
    set_attribute(writer_->add(main, "Concat", rows, "logits"), "axis", std::int64_t{0});
    declare(*main.add_output(), "logits", TensorProto::FLOAT,
            {static_cast<std::int64_t>(rows.size()), -1, model_.graph.classes});
  }

  // Functions that write the conditional form.

  /// The results of the earlier exits that an exit needs.
  struct State {
    std::string sum;       ///< name of the sum of the ensemble's probabilities; empty at exit 1
    double weight = 0;     ///< total weight of the exits in `sum`
    std::string answer;    ///< name of the class at the exit before, [1]
    std::string agreeing;  ///< name of the number of exits in a row with that class, [1]
  };

  /// The results of an exit.
  struct Result {
    std::string probabilities, answer;
  };

  const policy::Policy& rule() const { return model_.policy->policy; }

  void write_conditional(GraphProto& main) {
    if (!model_.policy)
      throw Error(
          "the model has no policy, which the conditional form needs; choose one with `offramp "
          "calibrate`, or use --form all-exits or plain");
    write_from(main, 0, 0, {}, "");
  }

  void declare_outputs(GraphProto& graph, const std::string& prefix) {
    declare(*graph.add_output(), prefix + "probabilities", TensorProto::FLOAT,
            {1, model_.graph.classes});
    declare(*graph.add_output(), prefix + "class", TensorProto::INT64, {1});
    declare(*graph.add_output(), prefix + "exit", TensorProto::INT64, {1});
  }

  void write_outputs(GraphProto& graph, const Result& result, int exit, const std::string& prefix) {
    writer_->add(graph, "Identity", {result.probabilities}, prefix + "probabilities");
    writer_->add(graph, "Identity", {result.answer}, prefix + "class");
    writer_->add(graph, "Identity", {writer_->integers(prefix + "exit/number", {exit})},
                 prefix + "exit");
    declare_outputs(graph, prefix);
  }

  /// Writes the network from a segment on. @param exit_index  index of the next exit
  /// @param prefix  beginning of the names of the outputs of `graph`
  void write_from(GraphProto& graph, int segment, int exit_index, const State& state,
                  const std::string& prefix) {
    const bool needs_all =
        rule().ensemble != Ensemble::off || rule().criterion == Criterion::patience;
    for (;; ++segment) {
      const bool exits = !model_.graph.segments[static_cast<std::size_t>(segment)].head.empty();
      const bool last = exit_index + 1 == rule().num_exits();
      const bool stops = exits && !last && threshold(exit_index).has_value();
      const std::string logits =
          write_segment(graph, segment, exits && (last || stops || needs_all));
      if (!exits) continue;
      if (logits.empty()) {  // no image stops at this exit
        ++exit_index;
        continue;
      }
      State now = state;
      const Result result = write_answer(graph, logits, exit_index, now);
      if (last) return write_outputs(graph, result, exit_index + 1, prefix);
      if (!stops) return write_from(graph, segment + 1, exit_index + 1, now, prefix);
      return write_if(graph, result, segment, exit_index, now, prefix);
    }
  }

  std::optional<float> threshold(int exit_index) const {
    return rule().thresholds[static_cast<std::size_t>(exit_index)];
  }

  static std::string place(int exit_index) { return fmt::format("exit_{}/", exit_index + 1); }

  /// Writes the probabilities and the class of an exit, by the policy's temperature and ensemble.
  Result write_answer(GraphProto& graph, const std::string& logits, int exit_index, State& state) {
    const std::string at = place(exit_index);
    const auto k = static_cast<std::size_t>(exit_index);
    const auto over_classes = [](NodeProto& node) { set_attribute(node, "axis", std::int64_t{1}); };
    writer_->add(graph, "Div",
                 {logits, writer_->scalar(at + "temperature", rule().temperatures[k])},
                 at + "scaled");
    Result result{at + "probabilities", at + "class"};
    std::string votes = logits;  // the predicted class has the largest of these values
    if (rule().ensemble == Ensemble::off) {
      over_classes(writer_->add(graph, "Softmax", {at + "scaled"}, result.probabilities));
    } else {
      const bool geometric = rule().ensemble == Ensemble::geometric;
      const double weight = rule().ensemble == Ensemble::weighted
                                ? static_cast<double>(rule().ensemble_weights[k])
                                : 1.0;
      over_classes(
          writer_->add(graph, geometric ? "LogSoftmax" : "Softmax", {at + "scaled"}, at + "own"));
      writer_->add(graph, "Mul",
                   {at + "own", writer_->scalar(at + "weight", static_cast<float>(weight))},
                   at + "weighted");
      votes = at + "weighted";
      if (!state.sum.empty()) {
        votes = at + "sum";
        writer_->add(graph, "Add", {state.sum, at + "weighted"}, votes);
      }
      state.sum = votes;
      state.weight += weight;
      writer_->add(graph, "Div",
                   {votes, writer_->scalar(at + "weights", static_cast<float>(state.weight))},
                   geometric ? at + "mean" : result.probabilities);
      if (geometric)
        over_classes(writer_->add(graph, "Softmax", {at + "mean"}, result.probabilities));
    }
    NodeProto& largest = writer_->add(graph, "ArgMax", {votes}, result.answer);
    set_attribute(largest, "axis", std::int64_t{1});
    set_attribute(largest, "keepdims", std::int64_t{0});
    if (rule().criterion == Criterion::patience) count_agreeing(graph, result, at, state);
    return result;
  }

  void count_agreeing(GraphProto& graph, const Result& result, const std::string& at,
                      State& state) {
    const std::string one = writer_->floats(at + "one", {1}, std::array{1.0f});
    std::string count = one;
    if (!state.answer.empty()) {
      count = at + "agreeing";
      writer_->add(graph, "Equal", {result.answer, state.answer}, at + "agrees");
      writer_->add(graph, "Add", {state.agreeing, one}, at + "one_more");
      writer_->add(graph, "Where", {at + "agrees", at + "one_more", one}, count);
    }
    state.answer = result.answer;
    state.agreeing = count;
  }

  /// Writes the score of an exit. @return its name, [1]
  std::string write_score(GraphProto& graph, const Result& result, const std::string& at,
                          const State& state) {
    std::string score = at + "score";
    const auto reduce = [&](const std::string& type, const std::string& input,
                            const std::string& output) {
      NodeProto& node = writer_->add(graph, type, {input}, output);
      set_attribute(node, "axes", std::vector<std::int64_t>{1});
      set_attribute(node, "keepdims", std::int64_t{0});
    };
    const std::int64_t classes = model_.graph.classes;
    if (rule().criterion == Criterion::patience) return state.agreeing;
    if (rule().criterion == Criterion::confidence || classes == 1) {
      reduce("ReduceMax", result.probabilities, score);
    } else if (rule().criterion == Criterion::margin) {
      NodeProto& largest =
          writer_->add(graph, "TopK", {result.probabilities, writer_->integers(at + "two", {2})},
                       at + "largest");
      largest.add_output(at + "largest_classes");
      writer_->add(graph, "Mul",
                   {at + "largest", writer_->floats(at + "signs", {1, 2}, std::array{1.0f, -1.0f})},
                   at + "signed");
      NodeProto& sum = writer_->add(graph, "ReduceSum",
                                    {at + "signed", writer_->integers(at + "axis", {1})}, score);
      set_attribute(sum, "keepdims", std::int64_t{0});
    } else {  // 1 - H / log C = 1 + Σ p log p / log C
      writer_->add(
          graph, "Max",
          {result.probabilities, writer_->scalar(at + "least", std::numeric_limits<float>::min())},
          at + "positive");
      writer_->add(graph, "Log", {at + "positive"}, at + "log");
      writer_->add(graph, "Mul", {result.probabilities, at + "log"}, at + "terms");
      NodeProto& sum = writer_->add(
          graph, "ReduceSum", {at + "terms", writer_->integers(at + "axis", {1})}, at + "sum_log");
      set_attribute(sum, "keepdims", std::int64_t{0});
      const double most = std::log(static_cast<double>(classes));
      writer_->add(graph, "Div",
                   {at + "sum_log", writer_->scalar(at + "log_classes", static_cast<float>(most))},
                   at + "negative");
      writer_->add(graph, "Add", {at + "negative", writer_->scalar(at + "whole", 1)}, score);
    }
    return score;
  }

  void write_if(GraphProto& graph, const Result& result, int segment, int exit_index,
                const State& state, const std::string& prefix) {
    const std::string at = place(exit_index);
    const std::string score = write_score(graph, result, at, state);
    writer_->add(
        graph, "GreaterOrEqual",
        {score, writer_->floats(at + "threshold", {1}, std::array{*threshold(exit_index)})},
        at + "stops");
    NodeProto& decision = *graph.add_node();
    decision.set_name(at + "If");
    decision.set_op_type("If");
    decision.add_input(at + "stops");
    for (const char* output : {"probabilities", "class", "exit"})
      decision.add_output(prefix + output);
    declare_outputs(graph, prefix);
    const auto branch = [&](const char* name) -> GraphProto& {
      schema::AttributeProto& attribute = *decision.add_attribute();
      attribute.set_name(name);
      attribute.set_type(schema::AttributeProto::GRAPH);
      attribute.mutable_g()->set_name(at + name);
      return *attribute.mutable_g();
    };
    write_outputs(branch("then_branch"), result, exit_index + 1, at + "then_");
    write_from(branch("else_branch"), segment + 1, exit_index + 1, state, at + "else_");
  }

  const model::ModelFile& model_;
  Form form_;
  const QuantisedNetwork* quantised_;
  Shapes shapes_;
  std::map<std::string, std::vector<const graph::Node*>> readers_;
  std::map<std::string, const GraphProto*> graph_of_;  ///< where an 8-bit tensor is computed
  std::set<std::string> in_integers_;                  ///< parameters that are written as integers
  NodeWriter* writer_ = nullptr;
  std::set<int> written_, heads_;  ///< segments whose body and whose head the file has
};

}  // namespace

Form form_from_string(std::string_view word) { return core::find_by_name(kForms, "form", word); }

std::string_view to_string(Form form) {
  for (const auto& [value, name] : kForms)
    if (value == form) return name;
  throw Error("a form has no name");
}

std::string network_as_onnx(const model::ModelFile& model, Form form,
                            const QuantisedTensors& quantised) {
  if (quantised.empty()) return NetworkWriter(model, form, nullptr).run();
  const QuantisedNetwork network = quantised_network(model, quantised);
  return NetworkWriter(network.model, form, &network).run();
}

}  // namespace offramp::onnx
