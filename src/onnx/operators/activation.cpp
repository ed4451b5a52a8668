#include <array>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/operators.h"

// Activations: each element of the output depends on the same element of the input, so the view of
// the tensor stays.
namespace offramp::onnx {
namespace {

void output_like(Call& call, int draft) { call.output(NetworkTensor{draft, call.tensor(0).view}); }

template <typename Activation>
void read_plain(Call& call) {
  output_like(call, call.network().append_activation(call.tensor(0).draft, Activation{}));
}

/// Clip: the limits are attributes up to opset 10, inputs from opset 11.
void read_clip(Call& call) {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  if (call.attributes().opset() < 11) {
    min = call.attributes().number("min", min);
    max = call.attributes().number("max", max);
  } else {
    if (call.has_input(1)) min = call.constant(1).scalar();
    if (call.has_input(2)) max = call.constant(2).scalar();
  }
  output_like(call, call.network().append_clip(call.tensor(0).draft, min, max));
}

void read_hard_sigmoid(Call& call) {
  const graph::HardSigmoid op{.alpha = call.attributes().number("alpha", 0.2),
                              .beta = call.attributes().number("beta", 0.5)};
  output_like(call, call.network().append(op, {call.tensor(0).draft}));
}

void read_gelu(Call& call) {
  const std::string approximate = call.attributes().text("approximate", "none");
  if (approximate != "none" && approximate != "tanh")
    throw Error(fmt::format("the approximation {} is not known", core::quote(approximate)));
  output_like(call, call.network().append(graph::Gelu{.tanh = approximate == "tanh"},
                                          {call.tensor(0).draft}));
}

void read_erf(Call& call) {
  const int input = call.tensor(0).draft;
  output_like(call, call.network().append_piece(Erf{}, input, call.network().shape(input)));
}

/// Softmax over the classes, which the network's probabilities are: recognised where it is the last
/// operation.
void read_softmax(Call& call) {
  const NetworkTensor& input = call.tensor(0);
  const auto rank = input.view.rank() + 1;
  const std::int64_t axis =
      call.attributes().integer("axis", call.attributes().opset() < 13 ? 1 : -1);
  if (checked_axis(axis, rank) != 1 || input.view.size(0) != core::element_count(call.shape(input)))
    throw Error("is supported over the classes only, as the last operation");
  output_like(call, call.network().append_piece(Softmax{}, input.draft, call.shape(input)));
}

constexpr std::array kOperators = {
    Operator{.name = "Relu", .read = read_plain<graph::Relu>},
    Operator{.name = "Sigmoid", .read = read_plain<graph::Sigmoid>},
    Operator{.name = "HardSwish", .since = 14, .read = read_plain<graph::HardSwish>},
    Operator{.name = "Clip", .max_inputs = 3, .read = read_clip},
    Operator{.name = "HardSigmoid", .read = read_hard_sigmoid},
    Operator{.name = "Gelu", .since = 20, .read = read_gelu},
    Operator{.name = "Erf", .since = 9, .read = read_erf},
    Operator{.name = "Softmax", .read = read_softmax},
    Operator{.name = "LogSoftmax", .read = read_softmax},
};

}  // namespace

std::span<const Operator> activation_operators() { return kOperators; }

}  // namespace offramp::onnx
