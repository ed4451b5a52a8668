#include <array>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/constant_math.h"
#include "onnx/operators.h"
#include "onnx/operators/bins.h"

// Concat, Split, Slice and Gather: of constants, and of channels.
namespace offramp::onnx {
namespace {

void read_concat(Call& call) {
  const std::int64_t axis = call.attributes().integer("axis", 1);
  if (call.all_constant()) {
    std::vector<const Constant*> parts;
    std::int64_t count = 0;
    for (std::size_t i = 0; i < call.num_inputs(); ++i) {
      parts.push_back(&call.constant(i));
      count += parts.back()->count();
    }
    call.spend(count);
    return call.output(joined(parts, checked_axis(axis, parts[0]->shape().size())));
  }
  if (call.num_inputs() == 1) return call.output(call.value(0));
  const NetworkTensor& first = call.tensor(0);
  const std::size_t dim = checked_axis(axis, first.view.rank() + 1);
  if (auto bins = joined_bins(call, dim)) return call.output(std::move(*bins));
  if (auto levels = joined_levels(call, dim)) return call.output(std::move(*levels));
  const auto channels = first.view.channel_dim(call.shape(first));
  if (dim == 0 || !channels || *channels != dim - 1)
    throw Error("tensors are joined along their channels only");
  std::vector<int> drafts;
  const AxisView rest = first.view.without_dim(dim - 1);
  for (std::size_t i = 0; i < call.num_inputs(); ++i) {
    const NetworkTensor& part = call.tensor(i);
    const graph::Shape& shape = call.shape(part);
    if (part.view.rank() != first.view.rank() || part.view.without_dim(dim - 1) != rest ||
        !part.view.is_axis(dim - 1, 0, shape)) {
      drafts.push_back(as_image(call.network(), part));
      if (!first.view.is_plain(call.shape(first)))
        throw Error("tensors with different orders of dimensions cannot be joined");
    } else {
      drafts.push_back(part.draft);
    }
  }
  const int concat = call.network().append(graph::Concat{}, std::move(drafts));
  call.output(
      NetworkTensor{concat, rest.with_dim(dim - 1, whole_axis(call.network().shape(concat), 0))});
}

/// Outputs the channels begin … end - 1 of a tensor whose dimension `dim` is the channels.
void output_channels(Call& call, const NetworkTensor& input, std::size_t dim, std::int64_t begin,
                     std::int64_t end) {
  const graph::Shape shape = call.shape(input);
  if (begin == 0 && end == shape[0]) return call.output(input);
  if (shape.size() != 3)
    throw Error("a part of a vector is not supported, only a part of an image's channels");
  if (begin < 0 || begin >= end || end > shape[0])
    throw Error(fmt::format("channels {} to {} of {} are asked for", begin, end, shape[0]));
  const int slice = call.network().append(graph::Slice{.begin = begin, .end = end}, {input.draft});
  call.output(NetworkTensor{slice, input.view.without_dim(dim).with_dim(
                                       dim, whole_axis(call.network().shape(slice), 0))});
}

/// Returns the dimension (without the batch) that ONNX calls `axis`, which must be the channels.
/// @param input  becomes an image with the channels in this order, if they were shuffled
std::size_t channel_axis(Call& call, NetworkTensor& input, std::int64_t axis) {
  const std::size_t dim = checked_axis(axis, input.view.rank() + 1);
  if (dim == 1 && !input.view.is_axis(0, 0, call.shape(input))) {
    const int image = as_image(call.network(), input);
    input = {image, AxisView::of(call.network().shape(image))};
  }
  if (dim == 0 || !input.view.is_axis(dim - 1, 0, call.shape(input)))
    throw Error("only a part of the channels is supported, not of another dimension");
  return dim - 1;
}

void read_split(Call& call) {
  NodeView& attributes = call.attributes();
  const std::int64_t axis = attributes.integer("axis", 0);
  std::vector<std::int64_t> sizes;
  if (attributes.opset() < 13)
    sizes = attributes.integers("split");
  else if (call.has_input(1))
    sizes = call.constant(1).integers();
  const auto parts = static_cast<std::int64_t>(call.num_outputs());
  if (attributes.opset() >= 18) attributes.expect("num_outputs", parts);
  std::int64_t size = 0;
  std::size_t dim = 0;
  NetworkTensor tensor{0, AxisView({})};
  if (call.is_constant(0)) {
    dim = checked_axis(axis, call.constant(0).shape().size());
    size = call.constant(0).shape()[dim];
    call.spend(call.constant(0).count());
  } else {
    tensor = call.tensor(0);
    dim = channel_axis(call, tensor, axis);
    size = call.shape(tensor)[0];
  }
  if (sizes.empty()) {  // equal parts; the last one may be smaller
    const std::int64_t each = (size + parts - 1) / parts;
    for (std::int64_t i = 0; i < parts; ++i)
      sizes.push_back(std::min(each, size - std::min(size, i * each)));
  }
  if (sizes.size() != call.num_outputs())
    throw Error(fmt::format("has {} sizes for {} outputs", sizes.size(), call.num_outputs()));
  std::int64_t begin = 0;
  for (const std::int64_t part : sizes) {
    if (part < 0 || part > size - begin)
      throw Error(fmt::format("the parts do not fit into {} elements", size));
    if (call.is_constant(0))
      call.output(taken(call.constant(0), dim, slice_indices(begin, begin + part, 1, size)));
    else
      output_channels(call, tensor, dim, begin, begin + part);
    begin += part;
  }
  if (begin != size) throw Error(fmt::format("the parts do not add up to {} elements", size));
}

void read_slice(Call& call) {
  NodeView& attributes = call.attributes();
  Constant::Integers starts, ends, axes, steps;
  if (attributes.opset() < 10) {
    starts = attributes.integers("starts");
    ends = attributes.integers("ends");
    axes = attributes.integers("axes");
  } else {
    starts = call.constant(1).integers();
    ends = call.constant(2).integers();
    if (call.has_input(3)) axes = call.constant(3).integers();
    if (call.has_input(4)) steps = call.constant(4).integers();
  }
  if (axes.empty())
    for (std::size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
  if (steps.empty()) steps.assign(starts.size(), 1);
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    throw Error("starts, ends, axes and steps have different lengths");
  if (call.is_constant(0)) {
    Constant result = call.constant(0);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      const std::size_t axis = checked_axis(axes[i], result.shape().size());
      const auto indices = slice_indices(starts[i], ends[i], steps[i], result.shape()[axis]);
      call.spend(result.count());
      result = taken(result, axis, indices);
    }
    return call.output(std::move(result));
  }
  NetworkTensor tensor = call.tensor(0);
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::size_t axis = checked_axis(axes[i], tensor.view.rank() + 1);
    const std::int64_t size = axis == 0 ? call.batch() : tensor.view.size(axis - 1);
    const auto indices = slice_indices(starts[i], ends[i], steps[i], size);
    if (static_cast<std::int64_t>(indices.size()) == size && (size == 1 || indices[0] == 0))
      continue;
    const graph::Shape& shape = call.shape(tensor);
    if (axis >= 2 && shape.size() == 3 && tensor.view.rank() == 3 && tensor.view.is_plain(shape) &&
        steps[i] == 1 && !indices.empty()) {
      tensor = cropped(call, tensor, axis - 1, indices.front(), indices.back() + 1);
      continue;
    }
    const std::size_t dim = channel_axis(call, tensor, axes[i]);
    if (steps[i] != 1 || indices.empty())
      throw Error("only channels that follow each other are supported");
    output_channels(call, tensor, dim, indices.front(), indices.back() + 1);
    tensor = std::get<NetworkTensor>(call.outputs().back());
    call.outputs().pop_back();
  }
  call.output(std::move(tensor));
}

void read_gather(Call& call) {
  const std::int64_t axis = call.attributes().integer("axis", 0);
  const Constant& indices = call.constant(1);
  if (call.is_constant(0)) {
    const Constant& from = call.constant(0);
    const std::size_t dim = checked_axis(axis, from.shape().size());
    const std::int64_t size = from.shape()[dim];
    Constant::Integers at = indices.integers();
    for (std::int64_t& index : at) {
      if (index < -size || index >= size)
        throw Error(fmt::format("index {} is out of range for {} elements", index, size));
      if (index < 0) index += size;
    }
    Dims shape = from.shape();
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(dim));
    shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(dim), indices.shape().begin(),
                 indices.shape().end());
    call.spend(checked_count(shape));
    return call.output(taken(from, dim, at).reshaped(std::move(shape)));
  }
  // One channel, whose dimension disappears if the index is a scalar: x[:, 0].
  NetworkTensor input = call.tensor(0);
  const std::size_t dim = channel_axis(call, input, axis);
  const std::int64_t channels = call.shape(input)[0];
  if (indices.count() != 1 || indices.shape().size() > 1)
    throw Error("only a single channel can be taken");
  const std::int64_t index =
      indices.integer() < 0 ? indices.integer() + channels : indices.integer();
  output_channels(call, input, dim, index, index + 1);
  if (!indices.shape().empty()) return;
  NetworkTensor channel = std::get<NetworkTensor>(call.outputs().back());
  call.outputs().pop_back();
  channel.view = channel.view.without_dim(dim);
  call.output(std::move(channel));
}

constexpr std::array kOperators = {
    Operator{.name = "Concat", .since = 4, .max_inputs = kAnyNumber, .read = read_concat},
    Operator{.name = "Split",
             .since = 2,
             .max_inputs = 2,
             .max_outputs = kAnyNumber,
             .read = read_split},
    Operator{.name = "Slice", .max_inputs = 5, .read = read_slice},
    Operator{.name = "Gather", .min_inputs = 2, .max_inputs = 2, .read = read_gather},
};

}  // namespace

std::span<const Operator> joining_operators() { return kOperators; }

}  // namespace offramp::onnx
