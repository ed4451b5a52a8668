#include <algorithm>
#include <array>
#include <set>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/constant_math.h"
#include "onnx/operators.h"

// Shape, Reshape, Flatten, Transpose, Squeeze, Unsqueeze, Expand: they compute nothing. For a
// tensor of the network they change its view; the batch must stay the first dimension.
namespace offramp::onnx {
namespace {

/// The ONNX shape of a value, with the batch.
Dims full_shape(Call& call, const Value& value) {
  if (const auto* constant = std::get_if<Constant>(&value)) return constant->shape();
  Dims shape = std::get<NetworkTensor>(value).view.sizes();
  shape.insert(shape.begin(), call.batch());
  return shape;
}

void read_shape(Call& call) {
  Dims shape = full_shape(call, call.value(0));
  const auto rank = static_cast<std::int64_t>(shape.size());
  const auto limited = [rank](std::int64_t index) {
    return std::clamp<std::int64_t>(index < 0 ? index + rank : index, 0, rank);
  };
  const std::int64_t begin = limited(call.attributes().integer("start", 0));
  const std::int64_t end = std::max(begin, limited(call.attributes().integer("end", rank)));
  shape = Dims(shape.begin() + begin, shape.begin() + end);
  const auto count = static_cast<std::int64_t>(shape.size());
  call.output(Constant({count}, std::move(shape)));
}

void read_size(Call& call) {
  call.output(Constant({}, Constant::Integers{checked_count(full_shape(call, call.value(0)))}));
}

/// Outputs a tensor with another shape, whose first size must be the batch.
void output_reshaped(Call& call, const NetworkTensor& tensor, const Dims& shape) {
  const Dims before = tensor.view.sizes();
  if (shape.empty() || shape[0] != call.batch())
    throw Error(fmt::format("reshapes [{},{}] to {}: the batch must stay the first dimension",
                            call.batch(), fmt::join(before, ","), core::to_string(shape)));
  const auto view = tensor.view.reshaped(Dims(shape.begin() + 1, shape.end()));
  if (!view)
    throw Error(
        fmt::format("reshapes [{},{}] to {}, which divides its dimensions in an unsupported way",
                    call.batch(), fmt::join(before, ","), core::to_string(shape)));
  call.output(NetworkTensor{tensor.draft, *view});
}

void read_reshape(Call& call) {
  Dims shape = call.constant(1).integers();
  if (shape.size() > 16) throw Error(fmt::format("makes {} dimensions, at most 16", shape.size()));
  const bool zero_is_zero = call.attributes().integer("allowzero", 0) != 0;
  const Dims before = full_shape(call, call.value(0));
  std::int64_t known = 1;
  std::ptrdiff_t open = -1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && !zero_is_zero) {
      if (i >= before.size()) throw Error("copies a size that the input does not have");
      shape[i] = before[i];
    }
    if (shape[i] == -1) {
      if (open >= 0) throw Error("leaves two sizes open");
      open = static_cast<std::ptrdiff_t>(i);
    } else {
      known = checked_count({known, shape[i]});
    }
  }
  const std::int64_t count = checked_count(before);
  if (open >= 0) {
    if (known == 0 || count % known != 0)
      throw Error(fmt::format("{} cannot be reshaped to {}", core::to_string(before),
                              core::to_string(shape)));
    shape[static_cast<std::size_t>(open)] = count / known;
  }
  if (call.is_constant(0)) return call.output(call.constant(0).reshaped(std::move(shape)));
  output_reshaped(call, call.tensor(0), shape);
}

void read_flatten(Call& call) {
  const Dims before = full_shape(call, call.value(0));
  const std::int64_t given = call.attributes().integer("axis", 1);
  const auto rank = static_cast<std::int64_t>(before.size());
  if (given < -rank || given > rank) throw Error(fmt::format("axis {} is out of range", given));
  const auto axis = before.begin() + (given < 0 ? given + rank : given);
  const Dims shape = {checked_count(Dims(before.begin(), axis)),
                      checked_count(Dims(axis, before.end()))};
  if (call.is_constant(0)) return call.output(call.constant(0).reshaped(shape));
  output_reshaped(call, call.tensor(0), shape);
}

void read_transpose(Call& call) {
  const Dims before = full_shape(call, call.value(0));
  std::vector<std::int64_t> given = call.attributes().integers("perm");
  if (given.empty())
    for (std::size_t i = before.size(); i-- > 0;) given.push_back(static_cast<std::int64_t>(i));
  std::vector<std::size_t> order;
  for (const std::int64_t axis : given) order.push_back(checked_axis(axis, before.size()));
  if (std::set<std::size_t>(order.begin(), order.end()).size() != before.size() ||
      order.size() != before.size())
    throw Error("the attribute perm is not a permutation of the dimensions");
  if (call.is_constant(0)) {
    call.spend(call.constant(0).count());
    return call.output(transposed(call.constant(0), order));
  }
  if (order[0] != 0) throw Error("moves the batch; it must stay the first dimension");
  std::vector<std::size_t> rest;
  for (std::size_t i = 1; i < order.size(); ++i) rest.push_back(order[i] - 1);
  call.output(NetworkTensor{call.tensor(0).draft, call.tensor(0).view.permuted(rest)});
}

/// Returns the axes of Squeeze and Unsqueeze: an attribute up to opset 12, an input from opset 13.
std::vector<std::int64_t> read_axes(Call& call) {
  if (call.attributes().opset() < 13) return call.attributes().integers("axes");
  return call.has_input(1) ? call.constant(1).integers() : std::vector<std::int64_t>{};
}

void read_squeeze(Call& call) {
  const Dims before = full_shape(call, call.value(0));
  std::set<std::size_t> axes;
  for (const std::int64_t axis : read_axes(call)) axes.insert(checked_axis(axis, before.size()));
  const bool all = axes.empty();
  Dims shape;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const bool removed = all ? before[i] == 1 && (i > 0 || call.is_constant(0)) : axes.contains(i);
    if (!removed) shape.push_back(before[i]);
    if (removed && before[i] != 1)
      throw Error(
          fmt::format("removes dimension {} of {}, which is not 1", i, core::to_string(before)));
  }
  if (call.is_constant(0)) return call.output(call.constant(0).reshaped(std::move(shape)));
  if (axes.contains(0)) throw Error("removes the batch");
  AxisView view = call.tensor(0).view;
  for (std::size_t i = before.size(); i-- > 1;)
    if (all ? before[i] == 1 : axes.contains(i)) view = view.without_dim(i - 1);
  call.output(NetworkTensor{call.tensor(0).draft, std::move(view)});
}

void read_unsqueeze(Call& call) {
  const Dims before = full_shape(call, call.value(0));
  const std::vector<std::int64_t> given = read_axes(call);
  const std::size_t rank = before.size() + given.size();
  if (rank > 16) throw Error(fmt::format("makes {} dimensions, at most 16", rank));
  std::set<std::size_t> axes;
  for (const std::int64_t axis : given) axes.insert(checked_axis(axis, rank));
  if (axes.size() != given.size()) throw Error("names an axis twice");
  Dims shape = before;
  for (const std::size_t axis : axes)
    shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), 1);
  if (call.is_constant(0)) return call.output(call.constant(0).reshaped(std::move(shape)));
  if (axes.contains(0)) throw Error("puts a dimension before the batch");
  AxisView view = call.tensor(0).view;
  for (const std::size_t axis : axes) view = view.with_dim(axis - 1, {});
  call.output(NetworkTensor{call.tensor(0).draft, std::move(view)});
}

void read_expand(Call& call) {
  const Dims wanted = call.constant(1).integers();
  const Dims before = full_shape(call, call.value(0));
  if (wanted.size() > 16) throw Error("makes too many dimensions");
  const Dims shape = broadcast_shape(before, wanted);
  if (shape == before) return call.output(call.value(0));
  if (!call.is_constant(0))
    throw Error(fmt::format("repeats a tensor of the network from {} to {}",
                            core::to_string(before), core::to_string(shape)));
  call.spend(checked_count(shape));
  call.output(broadcast(call.constant(0), shape));
}

constexpr std::array kOperators = {
    Operator{.name = "Shape", .read = read_shape},
    Operator{.name = "Size", .read = read_size},
    Operator{.name = "Reshape", .since = 5, .min_inputs = 2, .max_inputs = 2, .read = read_reshape},
    Operator{.name = "Flatten", .read = read_flatten},
    Operator{.name = "Transpose", .read = read_transpose},
    Operator{.name = "Squeeze", .max_inputs = 2, .read = read_squeeze},
    Operator{.name = "Unsqueeze", .max_inputs = 2, .read = read_unsqueeze},
    Operator{.name = "Expand", .since = 8, .min_inputs = 2, .max_inputs = 2, .read = read_expand},
};

}  // namespace

std::span<const Operator> shape_operators() { return kOperators; }

}  // namespace offramp::onnx
