#include "onnx/evaluator.h"

#include "core/error.h"
#include "onnx/open_model.h"

namespace offramp::onnx {
namespace {

constexpr int kMaxDepth = 16;

std::string label(const std::string& prefix, const schema::NodeProto& node) {
  const std::string& name = !node.name().empty()     ? node.name()
                            : node.output_size() > 0 ? node.output(0)
                                                     : node.op_type();
  return fmt::format("node {} ({})", core::quote(prefix + name), core::quote(node.op_type()));
}

std::map<std::string, int> opsets_of(
    const google::protobuf::RepeatedPtrField<schema::OperatorSetIdProto>& list) {
  std::map<std::string, int> result;
  for (const schema::OperatorSetIdProto& entry : list) {
    const std::string domain = entry.domain() == "ai.onnx" ? "" : entry.domain();
    const bool fits = entry.version() >= 1 && entry.version() <= 1000;
    result[domain] = fits ? static_cast<int>(entry.version()) : 0;
  }
  return result;
}

}  // namespace

Evaluator::Evaluator(const schema::ModelProto& model, TensorReader& tensors, Call::Model& shared)
    : tensors_(tensors), shared_(shared) {
  for (const schema::FunctionProto& function : model.functions())
    functions_[{function.domain(), function.name()}] = &function;
  main_.opsets = opsets_of(model.opset_import());
  add_initializers(main_, model.graph());
  count_readers(model.graph());
}

void Evaluator::count_readers(const schema::GraphProto& graph) {
  for (const schema::NodeProto& node : graph.node()) {
    for (const std::string& input : node.input()) ++readers_[input];
    for (const schema::AttributeProto& attribute : node.attribute())
      if (attribute.has_g()) count_readers(attribute.g());
  }
  for (const schema::ValueInfoProto& output : graph.output()) ++readers_[output.name()];
}

void Evaluator::free_inputs(const Scope& scope, const schema::NodeProto& node) {
  const Scope* outermost = &scope;
  while (outermost->outer != nullptr) outermost = outermost->outer;
  if (outermost != &main_) return;  // the readers in functions are not counted
  for (const std::string& input : node.input()) {
    const auto readers = readers_.find(input);
    if (readers == readers_.end() || --readers->second > 0) continue;
    // The name stays, so that a second value with this name is noticed.
    if (const auto value = main_.values.find(input); value != main_.values.end())
      if (auto* constant = std::get_if<Constant>(&value->second)) *constant = Constant();
  }
}

void Evaluator::add_initializers(Scope& scope, const schema::GraphProto& graph) {
  if (graph.sparse_initializer_size() > 0)
    throw Error("sparse weights are not supported; export them as dense tensors");
  for (const schema::TensorProto& tensor : graph.initializer())
    if (!scope.initializers.emplace(tensor.name(), &tensor).second)
      throw Error(fmt::format("the initializer {} appears twice", core::quote(tensor.name())));
}

void Evaluator::define(const std::string& name, Value value) {
  if (!main_.values.emplace(name, std::move(value)).second)
    throw Error(fmt::format("the value {} appears twice", core::quote(name)));
}

void Evaluator::run(const schema::GraphProto& graph) { run(main_, graph.node(), 0); }

const Value* Evaluator::find(Scope& scope, const std::string& name) {
  for (Scope* at = &scope; at != nullptr; at = const_cast<Scope*>(at->outer)) {
    if (const auto found = at->values.find(name); found != at->values.end()) return &found->second;
    const auto weight = at->initializers.find(name);
    if (weight == at->initializers.end()) continue;
    try {
      return &at->values.emplace(name, tensors_.read(*weight->second)).first->second;
    } catch (const Error& error) {
      core::throw_with_place(fmt::format("tensor {}", core::quote(name)), error);
    }
  }
  return nullptr;
}

const Value& Evaluator::value(const std::string& name) {
  const Value* found = find(main_, name);
  if (found == nullptr)
    throw Error(fmt::format("no node computes the value {}", core::quote(name)));
  return *found;
}

void Evaluator::run(Scope& scope,
                    const google::protobuf::RepeatedPtrField<schema::NodeProto>& nodes, int depth) {
  if (depth > kMaxDepth)
    throw Error(fmt::format("graphs and functions are nested deeper than {}", kMaxDepth));
  for (const schema::NodeProto& node : nodes) run_node(scope, node, depth);
}

void Evaluator::run_node(Scope& scope, const schema::NodeProto& node, int depth) {
  if (++num_nodes_ > kMaxNodes)
    throw Error(fmt::format("the network has more than {} nodes", kMaxNodes));
  const std::string source = label(scope.prefix, node);
  std::vector<Value> outputs;
  try {
    std::vector<const Value*> inputs;
    bool unread = false;
    for (const std::string& name : node.input()) {
      inputs.push_back(name.empty() ? nullptr : find(scope, name));
      if (name.empty()) continue;
      if (inputs.back() == nullptr)
        throw Error(fmt::format("no node before it computes the input {}", core::quote(name)));
      unread = unread || std::holds_alternative<Unread>(*inputs.back());
    }
    shared_.network.begin_node(
        source, node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name());
    if (unread) {
      // The operator is looked up all the same, so that all unknown ones are listed at once.
      const auto opset = scope.opsets.find(node.domain() == "ai.onnx" ? "" : node.domain());
      if (node.op_type() != "If" && !functions_.contains({node.domain(), node.op_type()}))
        find_operator(node.domain(), node.op_type(),
                      opset == scope.opsets.end() ? 0 : opset->second);
    } else {
      outputs = read_node(scope, node, std::move(inputs), depth);
    }
  } catch (const Error& error) {
    const bool unsupported = dynamic_cast<const UnsupportedOperator*>(&error) != nullptr;
    problems_.push_back({source, error.what(), unsupported ? node.op_type() : ""});
    outputs.clear();
  }
  check_parameters();
  free_inputs(scope, node);
  outputs.resize(static_cast<std::size_t>(node.output_size()), Unread{});
  for (int i = 0; i < node.output_size(); ++i)
    if (!node.output(i).empty() &&
        !scope.values.emplace(node.output(i), std::move(outputs[static_cast<std::size_t>(i)]))
             .second)
      problems_.push_back(
          {source, fmt::format("the value {} appears twice", core::quote(node.output(i)))});
}

void Evaluator::check_parameters() {
  for (; counted_drafts_ < shared_.network.size(); ++counted_drafts_)
    for (const auto& [name, tensor] : shared_.network[counted_drafts_].parameters)
      parameter_bytes_ += tensor.bytes.size();
  if (parameter_bytes_ > 8 * (shared_.file_bytes + tensors_.external_bytes()) + (1u << 26))
    throw Error("layers share weights so often that the network is far larger than the file");
}

std::vector<Value> Evaluator::read_node(Scope& scope, const schema::NodeProto& node,
                                        std::vector<const Value*> inputs, int depth) {
  if (const auto function = functions_.find({node.domain(), node.op_type()});
      function != functions_.end())
    return call_function(*function->second, node, inputs, depth);
  const std::string domain = node.domain() == "ai.onnx" ? "" : node.domain();
  const auto opset = scope.opsets.find(domain);
  if (domain.empty() && opset == scope.opsets.end())
    throw Error("the file does not say which operator set it uses");
  const int version = opset == scope.opsets.end() ? 0 : opset->second;
  NodeView view(node, version, tensors_);
  if (domain.empty() && node.op_type() == "If") return read_if(scope, view, inputs, depth);
  const Operator& op = find_operator(node.domain(), node.op_type(), version);
  check_arity(op, node);
  Call call(view, std::move(inputs), shared_);
  op.read(call);
  view.finish();
  return std::move(call.outputs());
}

/// An If whose condition is known takes one branch. Exporters write it around Squeeze.
std::vector<Value> Evaluator::read_if(Scope& scope, NodeView& view,
                                      const std::vector<const Value*>& inputs, int depth) {
  const auto* condition =
      inputs.size() == 1 && inputs[0] != nullptr ? std::get_if<Constant>(inputs[0]) : nullptr;
  if (condition == nullptr)
    throw Error("the condition depends on the image; export the network without control flow");
  const schema::GraphProto* yes = view.graph("then_branch");
  const schema::GraphProto* no = view.graph("else_branch");
  view.finish();
  const schema::GraphProto* branch = condition->integer() != 0 ? yes : no;
  if (branch == nullptr) throw Error("a branch is missing");
  Scope inner;
  inner.outer = &scope;
  inner.prefix = scope.prefix;
  inner.opsets = scope.opsets;
  add_initializers(inner, *branch);
  run(inner, branch->node(), depth + 1);
  std::vector<Value> outputs;
  for (const schema::ValueInfoProto& output : branch->output()) {
    const Value* found = find(inner, output.name());
    if (found == nullptr)
      throw Error(fmt::format("no node computes the output {}", core::quote(output.name())));
    outputs.push_back(*found);
  }
  return outputs;
}

/// A function of the model is read node by node, with the attributes of the call in place of its
/// own.
std::vector<Value> Evaluator::call_function(const schema::FunctionProto& function,
                                            const schema::NodeProto& node,
                                            const std::vector<const Value*>& inputs, int depth) {
  if (static_cast<int>(inputs.size()) > function.input_size())
    throw Error(
        fmt::format("the function takes {} inputs, got {}", function.input_size(), inputs.size()));
  std::map<std::string, schema::AttributeProto> attributes;
  for (const schema::AttributeProto& attribute : function.attribute_proto())
    attributes[attribute.name()] = attribute;
  for (const schema::AttributeProto& attribute : node.attribute())
    attributes[attribute.name()] = attribute;
  Scope inner;
  inner.prefix = (node.name().empty() ? node.op_type() : node.name()) + "/";
  inner.opsets = opsets_of(function.opset_import());
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i] != nullptr) inner.values.emplace(function.input(static_cast<int>(i)), *inputs[i]);
  if (inner.prefix.size() > 1000) throw Error("the names of functions are too long");
  google::protobuf::RepeatedPtrField<schema::NodeProto> body = function.node();
  for (schema::NodeProto& step : body) {
    google::protobuf::RepeatedPtrField<schema::AttributeProto> kept;
    for (const schema::AttributeProto& attribute : step.attribute()) {
      if (attribute.ref_attr_name().empty()) {
        *kept.Add() = attribute;
        continue;
      }
      const auto given = attributes.find(attribute.ref_attr_name());
      if (given == attributes.end()) continue;  // the operator's default holds
      *kept.Add() = given->second;
      kept.rbegin()->set_name(attribute.name());
    }
    step.mutable_attribute()->Swap(&kept);
    // An input of the function that is not given is one that the node does not have either.
    for (std::string& name : *step.mutable_input())
      for (int i = 0; i < function.input_size(); ++i)
        if (name == function.input(i) && !inner.values.contains(name)) name.clear();
  }
  run(inner, body, depth + 1);
  std::vector<Value> outputs;
  for (const std::string& output : function.output()) {
    const Value* found = find(inner, output);
    if (found == nullptr)
      throw Error(fmt::format("the function has no value {}", core::quote(output)));
    outputs.push_back(*found);
  }
  return outputs;
}

}  // namespace offramp::onnx
