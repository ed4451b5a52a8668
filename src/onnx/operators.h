#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "onnx/node_view.h"
#include "onnx/value.h"

namespace offramp::onnx {

/// One node that is being read: its inputs, attributes and outputs.
class Call {
 public:
  /// The data that all nodes of a model share.
  struct Model {
    NetworkDraft& network;
    std::int64_t batch = 1;  ///< the size of the batch in shapes
    const TensorReader& tensors;
    std::uint64_t file_bytes = 0;
    std::int64_t computed = 0;  ///< elements that arithmetic on constants has made
    std::vector<std::string>& notes;
    bool is_quantised = false;  ///< a node quantises a tensor of the network
  };

  Call(NodeView& attributes, std::vector<const Value*> inputs, Model& model)
      : attributes_(attributes), inputs_(std::move(inputs)), model_(model) {}

  NodeView& attributes() { return attributes_; }
  NetworkDraft& network() { return model_.network; }
  std::int64_t batch() const { return model_.batch; }

  std::size_t num_inputs() const { return inputs_.size(); }
  std::size_t num_outputs() const { return static_cast<std::size_t>(node().output_size()); }
  /// True if the input is given: the last inputs may be missing, others may have an empty name.
  bool has_input(std::size_t index) const {
    return index < inputs_.size() && inputs_[index] != nullptr;
  }
  bool is_constant(std::size_t index) const {
    return has_input(index) && std::holds_alternative<Constant>(*inputs_[index]);
  }
  /// True if all inputs that are given are constants.
  bool all_constant() const;
  /// @throws Error if the input is missing or depends on the image
  const Constant& constant(std::size_t index) const;
  /// @throws Error if the input is missing or a constant
  const NetworkTensor& tensor(std::size_t index) const;
  const Value& value(std::size_t index) const;
  /// The name of an input in the file.
  const std::string& input_name(std::size_t index) const {
    return node().input(static_cast<int>(index));
  }

  const graph::Shape& shape(const NetworkTensor& tensor) const {
    return model_.network.shape(tensor.draft);
  }

  void output(Value value) { outputs_.push_back(std::move(value)); }
  /// Outputs the whole of a draft with a dimension for each of its axes; {features} as
  /// [N,features].
  void output_plain(int draft);
  std::vector<Value>& outputs() { return outputs_; }

  /// Adds a line for the user about something that was left out.
  void note(std::string text);
  /// Notes that the file quantises tensors of the network.
  void set_quantised() { model_.is_quantised = true; }
  /// Counts elements that arithmetic on constants makes. Arithmetic on weights transposes and
  /// scales each a few times. @throws Error if there are far more of them than the file holds
  void spend(std::int64_t elements);

 private:
  const schema::NodeProto& node() const { return attributes_.proto(); }

  NodeView& attributes_;
  std::vector<const Value*> inputs_;
  Model& model_;
  std::vector<Value> outputs_;
};

/// An operator of ONNX that can be read.
struct Operator {
  std::string_view name;
  int since = 1, until = 21;  ///< versions of the operator set
  std::size_t min_inputs = 1, max_inputs = 1, max_outputs = 1;
  void (*read)(Call& call);
};

inline constexpr std::size_t kAnyNumber = 10'000;

/// The operators of each family; operators/<family>.cpp defines them.
std::span<const Operator> activation_operators();
std::span<const Operator> arithmetic_operators();
std::span<const Operator> constant_operators();
std::span<const Operator> convolution_operators();
std::span<const Operator> joining_operators();
std::span<const Operator> linear_operators();
std::span<const Operator> normalisation_operators();
std::span<const Operator> pooling_operators();
std::span<const Operator> quantisation_operators();
std::span<const Operator> reduction_operators();
std::span<const Operator> shape_operators();

/// The operator itself is not supported, or not in this version.
class UnsupportedOperator : public Error {
 public:
  using Error::Error;
};

/// Returns the operator with this name and version.
/// @throws UnsupportedOperator that says what is not supported and what can be done
const Operator& find_operator(const std::string& domain, const std::string& name, int opset);

/// Checks the numbers of inputs and outputs before any of them is used.
/// @throws Error that names what was expected
void check_arity(const Operator& op, const schema::NodeProto& node);

}  // namespace offramp::onnx
