#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "onnx/operators.h"
#include "onnx/schema.h"
#include "onnx/tensor_data.h"
#include "onnx/value.h"

namespace offramp::onnx {

/// A node that cannot be imported, and why.
struct NodeProblem {
  std::string node;              ///< node "…" (Conv)
  std::string reason;            ///< one clause
  std::string unsupported = {};  ///< the operator, if it is not supported at all
};

/// Reads the nodes of a model in order. Nodes that cannot be imported are collected, so that a user
/// learns of all of them at once.
class Evaluator {
 public:
  Evaluator(const schema::ModelProto& model, TensorReader& tensors, Call::Model& shared);

  /// Gives a value its name. @throws Error if the name has a value already
  void define(const std::string& name, Value value);
  /// Reads all nodes of the graph.
  void run(const schema::GraphProto& graph);
  /// @throws Error if no node gives this value
  const Value& value(const std::string& name);

  const std::vector<NodeProblem>& problems() const { return problems_; }
  std::size_t num_nodes() const { return num_nodes_; }

 private:
  using Functions = std::map<std::pair<std::string, std::string>, const schema::FunctionProto*>;

  /// The names that are known at a place: those of a graph, and those around it.
  struct Scope {
    const Scope* outer = nullptr;
    std::unordered_map<std::string, Value> values;
    std::unordered_map<std::string, const schema::TensorProto*> initializers;
    std::string prefix;  ///< prefix of the names of nodes, for messages
    std::map<std::string, int> opsets;
  };

  void add_initializers(Scope& scope, const schema::GraphProto& graph);
  const Value* find(Scope& scope, const std::string& name);
  void run(Scope& scope, const google::protobuf::RepeatedPtrField<schema::NodeProto>& nodes,
           int depth);
  void run_node(Scope& scope, const schema::NodeProto& node, int depth);
  std::vector<Value> read_node(Scope& scope, const schema::NodeProto& node,
                               std::vector<const Value*> inputs, int depth);
  std::vector<Value> read_if(Scope& scope, NodeView& view, const std::vector<const Value*>& inputs,
                             int depth);
  std::vector<Value> call_function(const schema::FunctionProto& function,
                                   const schema::NodeProto& node,
                                   const std::vector<const Value*>& inputs, int depth);

  /// Checks the size of the parameters of all layers so far. A file can name one weight for many
  /// layers, each of which gets a copy. 8 bits in the file are 32 here.
  void check_parameters();

  /// Counts how often the nodes of a graph, also of inner ones, read each name.
  void count_readers(const schema::GraphProto& graph);
  /// Frees the constants of the main graph that no later node reads: a layer has its own copy.
  void free_inputs(const Scope& scope, const schema::NodeProto& node);

  TensorReader& tensors_;
  Call::Model& shared_;
  Functions functions_;
  Scope main_;
  /// For each name, how many nodes of the main graph that come later read it.
  std::unordered_map<std::string_view, std::size_t> readers_;
  std::vector<NodeProblem> problems_;
  std::size_t num_nodes_ = 0;
  int counted_drafts_ = 0;
  std::uint64_t parameter_bytes_ = 0;
};

}  // namespace offramp::onnx
