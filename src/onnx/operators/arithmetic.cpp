#include <array>
#include <cmath>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/constant_math.h"
#include "onnx/operators.h"

// Add, Sub, Mul, Div, Sum, Pow, Sqrt and comparisons: of constants; of a tensor with a constant
// that has one value or one for each channel; of two tensors.
namespace offramp::onnx {
namespace {

using Integer = std::int64_t;
// Overflow of hostile shapes must not be undefined.
Integer plus(Integer a, Integer b) {
  return static_cast<Integer>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}
Integer minus(Integer a, Integer b) {
  return static_cast<Integer>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}
Integer times(Integer a, Integer b) {
  return static_cast<Integer>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}
Integer divided(Integer a, Integer b) {
  if (b == 0) throw Error("an integer is divided by 0");
  return b == -1 ? minus(0, a) : a / b;
}
Integer remainder(Integer a, Integer b) {
  if (b == 0) throw Error("an integer is divided by 0");
  if (b == -1) return 0;
  const Integer r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
float remainder(float a, float b) { return std::fmod(a, b); }

void output_combined(Call& call, Integer (*integers)(Integer, Integer),
                     float (*floats)(float, float)) {
  const Constant& a = call.constant(0);
  const Constant& b = call.constant(1);
  call.spend(checked_count(broadcast_shape(a.shape(), b.shape())));
  call.output(combine(a, b, integers, floats));
}

/// Returns the values of a constant for the channels of a tensor: one, or one for each channel.
/// @throws Error if the constant differs between positions or enlarges the tensor
std::vector<float> per_channel(Call& call, const Constant& constant, const NetworkTensor& tensor) {
  if (constant.count() == 1 && constant.shape().size() <= tensor.view.rank() + 1)
    return {constant.to_floats()[0]};
  const graph::Shape& shape = call.shape(tensor);
  const auto channels = tensor.view.channel_dim(shape);
  // The sizes of the constant, aligned with those of the tensor at the end.
  const Dims& sizes = constant.shape();
  const std::size_t rank = tensor.view.rank() + 1;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::size_t from_end = sizes.size() - i;
    if (sizes[i] == 1) continue;
    if (from_end > rank || !channels || rank - from_end != *channels + 1 || sizes[i] != shape[0])
      throw Error(fmt::format(
          "a constant of shape {} with a tensor of shape {}: only one value for all elements or "
          "one for each channel is supported",
          core::to_string(sizes), core::to_string(tensor.view.sizes())));
  }
  return constant.to_floats();
}

void output_affine(Call& call, const NetworkTensor& tensor, Affine affine) {
  call.output(
      NetworkTensor{call.network().append_affine(tensor.draft, std::move(affine)), tensor.view});
}

/// True if two tensors show their axes in the same way and have the same shape.
bool same_view(Call& call, const NetworkTensor& a, const NetworkTensor& b) {
  return a.view == b.view && call.shape(a) == call.shape(b);
}

void output_sum(Call& call) {
  std::vector<int> drafts;
  const NetworkTensor& first = call.tensor(0);
  bool same = true;
  for (std::size_t i = 0; i < call.num_inputs(); ++i)
    same = same && same_view(call, first, call.tensor(i));
  for (std::size_t i = 0; i < call.num_inputs(); ++i)
    drafts.push_back(same ? call.tensor(i).draft : as_image(call.network(), call.tensor(i)));
  for (const int draft : drafts)
    if (call.network().shape(draft) != call.network().shape(drafts[0]))
      throw Error(fmt::format("the sum of {} and {} is not supported",
                              core::to_string(call.network().shape(drafts[0])),
                              core::to_string(call.network().shape(draft))));
  const int sum = call.network().append(graph::Add{}, std::move(drafts));
  call.output(NetworkTensor{sum, same ? first.view : AxisView::of(call.network().shape(sum))});
}

void read_add(Call& call) {
  if (call.all_constant())
    return output_combined(call, plus, [](float a, float b) { return a + b; });
  if (!call.is_constant(0) && !call.is_constant(1)) return output_sum(call);
  const std::size_t tensor_index = call.is_constant(0) ? 1 : 0;
  const NetworkTensor& tensor = call.tensor(tensor_index);
  std::vector<float> shift = per_channel(call, call.constant(1 - tensor_index), tensor);
  std::vector<float> ones(shift.size(), 1.0f);
  output_affine(call, tensor, {std::move(ones), std::move(shift)});
}

/// x - mean of x over the channels is a piece of a layer norm.
bool output_centred(Call& call) {
  const NetworkTensor& x = call.tensor(0);
  const NetworkTensor& mean = call.tensor(1);
  if (call.network().as<ChannelMean>(mean.draft) == nullptr ||
      call.network()[mean.draft].inputs[0] != x.draft)
    return false;
  call.output(
      NetworkTensor{call.network().append_piece(Centred{}, x.draft, call.shape(x)), x.view});
  return true;
}

void read_sub(Call& call) {
  if (call.all_constant())
    return output_combined(call, minus, [](float a, float b) { return a - b; });
  if (!call.is_constant(0) && !call.is_constant(1)) {
    if (output_centred(call)) return;
    throw Error("the difference of two tensors is not supported");
  }
  const bool from_constant = call.is_constant(0);
  const NetworkTensor& tensor = call.tensor(from_constant ? 1 : 0);
  std::vector<float> shift = per_channel(call, call.constant(from_constant ? 0 : 1), tensor);
  if (!from_constant)
    for (float& value : shift) value = -value;
  std::vector<float> scale(shift.size(), from_constant ? -1.0f : 1.0f);
  output_affine(call, tensor, {std::move(scale), std::move(shift)});
}

/// The product of two tensors: of the same shape, or of an image and one factor for each channel.
void output_product(Call& call) {
  const NetworkTensor& a = call.tensor(0);
  const NetworkTensor& b = call.tensor(1);
  NetworkDraft& network = call.network();
  if (same_view(call, a, b)) {
    call.output(NetworkTensor{network.append_product(a.draft, b.draft), a.view});
    return;
  }
  const bool a_is_gate = call.shape(a).size() < call.shape(b).size();
  const NetworkTensor& gate = a_is_gate ? a : b;
  const NetworkTensor& image = a_is_gate ? b : a;
  if (call.shape(gate).size() == 1) {
    if (gate.view.rank() != image.view.rank() || !gate.view.channel_dim(call.shape(gate)) ||
        gate.view.channel_dim(call.shape(gate)) != image.view.channel_dim(call.shape(image)))
      throw Error("the product of two tensors whose channels do not correspond is not supported");
    call.output(NetworkTensor{network.append_product(image.draft, gate.draft), image.view});
    return;
  }
  const int left = as_image(network, a), right = as_image(network, b);
  if (network.shape(left) != network.shape(right))
    throw Error(fmt::format("the product of {} and {} is not supported",
                            core::to_string(network.shape(left)),
                            core::to_string(network.shape(right))));
  call.output_plain(network.append_product(left, right));
}

void read_mul(Call& call) {
  if (call.all_constant())
    return output_combined(call, times, [](float a, float b) { return a * b; });
  if (!call.is_constant(0) && !call.is_constant(1)) return output_product(call);
  const std::size_t tensor_index = call.is_constant(0) ? 1 : 0;
  const NetworkTensor& tensor = call.tensor(tensor_index);
  std::vector<float> scale = per_channel(call, call.constant(1 - tensor_index), tensor);
  std::vector<float> zeros(scale.size(), 0.0f);
  output_affine(call, tensor, {std::move(scale), std::move(zeros)});
}

/// (x - mean) / deviation of the same x is a layer norm without weights.
bool output_layer_norm(Call& call) {
  NetworkDraft& network = call.network();
  const NetworkTensor& x = call.tensor(0);
  const auto* deviation = network.as<Deviation>(call.tensor(1).draft);
  if (deviation == nullptr || network.as<Centred>(x.draft) == nullptr) return false;
  const int variance = network[call.tensor(1).draft].inputs[0];
  const int square = network[variance].inputs[0];
  if (network[square].inputs[0] != x.draft) return false;
  const std::int64_t channels = call.shape(x)[0];
  const std::vector<float> ones(static_cast<std::size_t>(channels), 1.0f),
      zeros(static_cast<std::size_t>(channels), 0.0f);
  call.spend(2 * channels);
  core::Tensors parameters;
  parameters.emplace("weight", core::HostTensor::of({channels}, std::span<const float>(ones)));
  parameters.emplace("bias", core::HostTensor::of({channels}, std::span<const float>(zeros)));
  const int norm = network.append(graph::LayerNorm{.eps = deviation->eps},
                                  {network[x.draft].inputs[0]}, std::move(parameters));
  call.output(NetworkTensor{norm, x.view});
  return true;
}

void read_div(Call& call) {
  if (call.all_constant())
    return output_combined(call, divided, [](float a, float b) { return a / b; });
  if (!call.is_constant(1)) {
    if (!call.is_constant(0) && output_layer_norm(call)) return;
    throw Error("a division by a tensor of the network is not supported");
  }
  const NetworkTensor& tensor = call.tensor(0);
  std::vector<float> scale = per_channel(call, call.constant(1), tensor);
  for (float& value : scale) value = 1 / value;
  std::vector<float> zeros(scale.size(), 0.0f);
  output_affine(call, tensor, {std::move(scale), std::move(zeros)});
}

void read_pow(Call& call) {
  if (call.all_constant())
    return output_combined(
        call,
        [](Integer a, Integer b) {
          if (b < 0 || b > 62) throw Error(fmt::format("the power {} is not supported", b));
          Integer result = 1;
          for (; b > 0; --b) result = times(result, a);
          return result;
        },
        [](float a, float b) { return std::pow(a, b); });
  const NetworkTensor& tensor = call.tensor(0);
  if (call.constant(1).scalar() != 2 || call.network().as<Centred>(tensor.draft) == nullptr)
    throw Error("powers are supported as part of a layer norm only");
  call.output(NetworkTensor{
      call.network().append_piece(CentredSquare{}, tensor.draft, call.shape(tensor)), tensor.view});
}

void read_sqrt(Call& call) {
  if (call.all_constant()) {
    Constant::Floats values = call.constant(0).to_floats();
    call.spend(call.constant(0).count());
    for (float& value : values) value = std::sqrt(value);
    call.output(Constant(call.constant(0).shape(), std::move(values)));
    return;
  }
  NetworkDraft& network = call.network();
  const NetworkTensor& tensor = call.tensor(0);
  const auto* affine = network.as<Affine>(tensor.draft);
  if (affine == nullptr || !affine->is_scalar() || affine->scale[0] != 1 ||
      network.as<Variance>(network[tensor.draft].inputs[0]) == nullptr)
    throw Error("square roots are supported as part of a layer norm only");
  const Deviation deviation{static_cast<double>(affine->shift[0])};
  call.output(NetworkTensor{
      network.append_piece(deviation, network[tensor.draft].inputs[0], call.shape(tensor)),
      tensor.view});
}

void read_neg(Call& call) {
  if (call.all_constant()) {
    const Constant& constant = call.constant(0);
    call.spend(constant.count());
    call.output(combine(constant, Constant({}, Constant::Integers{-1}), times,
                        [](float a, float b) { return a * b; }));
    return;
  }
  output_affine(call, call.tensor(0), {{-1.0f}, {0.0f}});
}

void read_mod(Call& call) {
  call.attributes().ignore("fmod");
  output_combined(call, remainder, [](float a, float b) { return remainder(a, b); });
}
void read_equal(Call& call) {
  output_combined(
      call, [](Integer a, Integer b) { return Integer{a == b}; },
      [](float a, float b) { return a == b ? 1.0f : 0.0f; });
}
void read_greater(Call& call) {
  output_combined(
      call, [](Integer a, Integer b) { return Integer{a > b}; },
      [](float a, float b) { return a > b ? 1.0f : 0.0f; });
}
void read_less(Call& call) {
  output_combined(
      call, [](Integer a, Integer b) { return Integer{a < b}; },
      [](float a, float b) { return a < b ? 1.0f : 0.0f; });
}
void read_and(Call& call) {
  output_combined(
      call, [](Integer a, Integer b) { return Integer{a != 0 && b != 0}; },
      [](float a, float b) { return a != 0 && b != 0 ? 1.0f : 0.0f; });
}
void read_or(Call& call) {
  output_combined(
      call, [](Integer a, Integer b) { return Integer{a != 0 || b != 0}; },
      [](float a, float b) { return a != 0 || b != 0 ? 1.0f : 0.0f; });
}

/// Min and Max: of constants, or limits of a tensor as some exporters write them.
template <bool is_min>
void read_extreme(Call& call) {
  if (call.all_constant() && call.num_inputs() == 2)
    return output_combined(
        call, [](Integer a, Integer b) { return is_min ? std::min(a, b) : std::max(a, b); },
        [](float a, float b) { return is_min ? std::min(a, b) : std::max(a, b); });
  if (call.num_inputs() != 2) throw Error("is supported with two inputs only");
  const std::size_t tensor_index = call.is_constant(0) ? 1 : 0;
  const NetworkTensor& tensor = call.tensor(tensor_index);
  const double limit = call.constant(1 - tensor_index).scalar();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  NetworkDraft& network = call.network();
  int draft = 0;
  // min(max(x, low), high) comes as two nodes.
  const auto* relu = network.as<graph::Relu>(tensor.draft);
  const auto* clip = network.as<graph::Clip>(tensor.draft);
  if (is_min && (relu != nullptr || clip != nullptr)) {
    const double low = relu != nullptr ? 0 : clip->min;
    const double high = relu != nullptr ? kInfinity : clip->max;
    draft = network.append_clip(network[tensor.draft].inputs[0], low, std::min(high, limit));
  } else {
    draft =
        network.append_clip(tensor.draft, is_min ? -kInfinity : limit, is_min ? limit : kInfinity);
  }
  call.output(NetworkTensor{draft, tensor.view});
}

void read_sum(Call& call) {
  if (call.num_inputs() == 1) return call.output(call.value(0));
  output_sum(call);
}

constexpr std::array kOperators = {
    Operator{.name = "Add", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_add},
    Operator{.name = "Sub", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_sub},
    Operator{.name = "Mul", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_mul},
    Operator{.name = "Div", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_div},
    Operator{.name = "Pow", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_pow},
    Operator{.name = "Sqrt", .read = read_sqrt},
    Operator{.name = "Neg", .read = read_neg},
    Operator{.name = "Mod", .since = 10, .min_inputs = 2, .max_inputs = 2, .read = read_mod},
    Operator{.name = "Equal", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_equal},
    Operator{.name = "Greater", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_greater},
    Operator{.name = "Less", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_less},
    Operator{.name = "And", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_and},
    Operator{.name = "Or", .since = 7, .min_inputs = 2, .max_inputs = 2, .read = read_or},
    Operator{.name = "Min", .since = 8, .max_inputs = kAnyNumber, .read = read_extreme<true>},
    Operator{.name = "Max", .since = 8, .max_inputs = kAnyNumber, .read = read_extreme<false>},
    Operator{.name = "Sum", .since = 8, .max_inputs = kAnyNumber, .read = read_sum},
};

}  // namespace

std::span<const Operator> arithmetic_operators() { return kOperators; }

}  // namespace offramp::onnx
