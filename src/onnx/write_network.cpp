#include "onnx/write_network.h"

#include <array>
#include <cmath>
#include <limits>
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
  NetworkWriter(const model::ModelFile& model, Form form)
      : model_(model), form_(form), shapes_(graph::infer_shapes(model.graph)) {}

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
      if (written_.contains(parameter.segment) &&
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

  /// The names of the classes, one a line.
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
  }

  void write_nodes(GraphProto& graph, const std::vector<graph::Node>& nodes) {
    for (const graph::Node& node : nodes) writer_->add(graph, node);
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

  // The forms all-exits and plain.

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

  // The conditional form.

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

  /// Writes the network from a segment on. @param exit_index  of the next exit
  /// @param prefix  of the names of the outputs of `graph`
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
    const std::string score = at + "score";
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
  Shapes shapes_;
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

std::string network_as_onnx(const model::ModelFile& model, Form form) {
  return NetworkWriter(model, form).run();
}

}  // namespace offramp::onnx
