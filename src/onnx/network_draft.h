#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"
#include "onnx/axis_view.h"

namespace offramp::onnx {

// Operations that exist only while a network is read. Exporters write one operation of the network
// as several ONNX nodes; these stand for the pieces until the whole is recognised.

/// scale x + shift, with one value for all elements or one for each channel.
struct Affine {
  std::vector<float> scale, shift;
  bool is_scalar() const { return scale.size() == 1; }
};
/// The error function, a piece of GELU.
struct Erf {};
/// Softmax over the classes, or its logarithm; the network's logits are its input.
struct Softmax {};
/// Padding of an image, which the convolution or pool that reads it takes over.
struct Pad {
  graph::Padding padding;
  double value = 0;
};
/// A part of an image: the rows top … bottom - 1 and the columns left … right - 1.
struct Crop {
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;
  bool operator==(const Crop&) const = default;
};
/// The largest or mean value of each channel in a part of an image, {C}: a bin of a pool with a
/// fixed grid.
struct Bin {
  Crop part;
  bool is_mean = false;
};
// The pieces of a layer norm over the channels: μ, x - μ, (x - μ)², its mean, √(mean + eps).
struct ChannelMean {};
struct Centred {};
struct CentredSquare {};
struct Variance {};
struct Deviation {
  double eps = 0;
};

using DraftOp = std::variant<graph::Op, Affine, Erf, Softmax, Pad, Crop, Bin, ChannelMean, Centred,
                             CentredSquare, Variance, Deviation>;

/// An operation of the network that is being read.
struct Draft {
  DraftOp op;
  std::vector<int> inputs = {};   ///< indices of drafts
  graph::Shape shape = {};        ///< shape of the output
  core::Tensors parameters = {};  ///< "weight", "bias", …
  std::string weight_name = {};   ///< the name of the weight in the ONNX file; may be empty
  std::string source = {};        ///< the ONNX node, for messages: node "…" (Conv)
  std::string node_name = {};     ///< the name of the ONNX node, or of its output
  bool is_nonnegative = false;    ///< no element of the output can be below 0
  /// The range in which the file quantises the output; none if it does not.
  std::optional<model::ActivationRange> range = {};
};

/// Whether T is one of the types of a variant.
template <typename T, typename Variant>
inline constexpr bool kIsAlternative = false;
template <typename T, typename... Alternatives>
inline constexpr bool kIsAlternative<T, std::variant<Alternatives...>> =
    (std::is_same_v<T, Alternatives> || ...);

/// The network that is being read, as a list of operations in execution order. Draft 0 is the
/// image.
class NetworkDraft {
 public:
  explicit NetworkDraft(const graph::Shape& input);

  const Draft& operator[](int index) const { return drafts_[static_cast<std::size_t>(index)]; }
  Draft& at(int index) { return drafts_[static_cast<std::size_t>(index)]; }
  int size() const { return static_cast<int>(drafts_.size()); }
  const graph::Shape& shape(int index) const { return (*this)[index].shape; }

  /// The operation of a draft if it is of type T, else null.
  template <typename T>
  const T* as(int index) const {
    const DraftOp& op = (*this)[index].op;
    if constexpr (kIsAlternative<T, graph::Op>) {
      const auto* inner = std::get_if<graph::Op>(&op);
      return inner == nullptr || index == 0 ? nullptr : std::get_if<T>(inner);
    } else {
      return std::get_if<T>(&op);
    }
  }

  /// The ONNX node that the drafts appended next come from.
  void begin_node(std::string source, std::string name);

  /// Appends an operation of the network and computes its shape. @throws Error if the operation
  /// does not accept the shapes of the inputs
  int append(graph::Op op, std::vector<int> inputs, core::Tensors parameters = {},
             std::string weight_name = {});
  /// Appends one of the operations above, whose output has the given shape.
  int append_piece(DraftOp op, int input, graph::Shape shape);

  /// Appends scale x + shift. Two in a row become one, and one that changes nothing is left out.
  int append_affine(int input, Affine affine);
  /// Appends min(max(x, min), max) as ReLU, ReLU6, clip or, after an addition, hard sigmoid.
  int append_clip(int input, double min, double max);
  /// Appends the product of two tensors, or the activation x σ(x), x hard-sigmoid(x) or GELU if
  /// they are its pieces.
  int append_product(int left, int right);
  /// Appends one of the activations without attributes.
  int append_activation(int input, graph::Op op) { return append(std::move(op), {input}); }

 private:
  /// Returns a draft shortly before that computes the same, for example a channel shuffle that two
  /// slices read; 0 if there is none.
  int find_same(const graph::Op& op, const std::vector<int>& inputs) const;
  bool is_nonnegative(const graph::Op& op, const std::vector<int>& inputs) const;

  std::vector<Draft> drafts_;
  std::string source_, node_name_;
};

/// A tensor of the network as an ONNX value.
struct NetworkTensor {
  int draft = 0;
  AxisView view;
};

/// Returns the index of a draft whose axes are {C, H, W} where `tensor` shows [N, C, H, W]; this
/// may append a channel shuffle. @throws Error if the dimensions are in any other order
int as_image(NetworkDraft& network, const NetworkTensor& tensor);

/// Returns the index of a draft of shape {features} where `tensor` shows [N, features]; this may
/// append a flattening. @param order  receives, if the ONNX order of the features differs from the
/// draft's, the feature of the draft at each place; empty if they are equal
int as_vector(NetworkDraft& network, const NetworkTensor& tensor, std::vector<std::int64_t>& order);

}  // namespace offramp::onnx
