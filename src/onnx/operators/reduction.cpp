#include <algorithm>
#include <array>
#include <set>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/operators.h"

// ReduceMean, ReduceProd and their like: of shapes, over all positions of an image (a global pool),
// and over the channels as a piece of a layer norm.
namespace offramp::onnx {
namespace {

/// Returns the axes, an attribute up to opset `last_attribute` and an input after it; all axes if
/// none are given.
std::set<std::size_t> read_axes(Call& call, int last_attribute, std::size_t rank) {
  std::vector<std::int64_t> axes;
  if (call.attributes().opset() <= last_attribute)
    axes = call.attributes().integers("axes");
  else if (call.has_input(1))
    axes = call.constant(1).integers();
  call.attributes().expect("noop_with_empty_axes", 0);
  std::set<std::size_t> result;
  for (const std::int64_t axis : axes) result.insert(checked_axis(axis, rank));
  if (axes.empty())
    for (std::size_t i = 0; i < rank; ++i) result.insert(i);
  return result;
}

/// True if the dimensions in `axes` (with the batch as 0) are the rows and columns of an image.
bool are_positions(const NetworkTensor& tensor, const graph::Shape& shape,
                   const std::set<std::size_t>& axes) {
  if (shape.size() != 3 || axes.contains(0)) return false;
  std::vector<Factor> factors;
  for (const std::size_t axis : axes) {
    const auto& dim = tensor.view.dim(axis - 1);
    factors.insert(factors.end(), dim.begin(), dim.end());
  }
  std::int64_t count = 1;
  for (const Factor& factor : factors) {
    if (factor.axis == 0) return false;
    count *= factor.size;
  }
  return count == shape[1] * shape[2];
}

/// Returns the view of the means {C} of an image.
AxisView reduced_view(const NetworkTensor& tensor, const std::set<std::size_t>& axes, bool keep) {
  std::vector<std::vector<Factor>> dims;
  for (std::size_t i = 0; i < tensor.view.rank(); ++i) {
    const bool reduced = axes.contains(i + 1);
    if (!reduced) dims.push_back(tensor.view.dim(i));
    if (reduced && keep) dims.emplace_back();
  }
  return AxisView(std::move(dims));
}

void output_bin(Call& call, const NetworkTensor& tensor, AxisView view, bool is_mean) {
  NetworkDraft& network = call.network();
  const Bin bin{.part = *network.as<Crop>(tensor.draft), .is_mean = is_mean};
  const int image = network[tensor.draft].inputs[0];
  call.output(
      NetworkTensor{network.append_piece(bin, image, {network.shape(image)[0]}), std::move(view)});
}

void read_mean(Call& call) {
  const NetworkTensor& tensor = call.tensor(0);
  const std::set<std::size_t> axes = read_axes(call, 17, tensor.view.rank() + 1);
  const bool keep = call.attributes().integer("keepdims", 1) != 0;
  const graph::Shape shape = call.shape(tensor);
  NetworkDraft& network = call.network();
  if (are_positions(tensor, shape, axes) && network.as<Crop>(tensor.draft) != nullptr)
    return output_bin(call, tensor, reduced_view(tensor, axes, keep), true);
  if (are_positions(tensor, shape, axes) && network.as<Pad>(tensor.draft) == nullptr) {
    const int pooled = network.append(graph::GlobalAvgPool{}, {tensor.draft});
    return call.output(NetworkTensor{pooled, reduced_view(tensor, axes, keep)});
  }
  if (axes.size() == 1 && !axes.contains(0) && keep &&
      tensor.view.is_axis(*axes.begin() - 1, 0, shape)) {
    graph::Shape means = shape;
    means[0] = 1;
    const std::size_t dim = *axes.begin() - 1;
    const AxisView view = tensor.view.without_dim(dim).with_dim(dim, {});
    if (network.as<CentredSquare>(tensor.draft) != nullptr)
      return call.output(
          NetworkTensor{network.append_piece(Variance{}, tensor.draft, means), view});
    return call.output(
        NetworkTensor{network.append_piece(ChannelMean{}, tensor.draft, means), view});
  }
  throw Error(fmt::format(
      "the mean over the given axes of [N,{}] is not supported: only over all rows and columns",
      fmt::join(tensor.view.sizes(), ",")));
}

void read_max(Call& call) {
  const NetworkTensor& tensor = call.tensor(0);
  const std::set<std::size_t> axes = read_axes(call, 17, tensor.view.rank() + 1);
  const bool keep = call.attributes().integer("keepdims", 1) != 0;
  NetworkDraft& network = call.network();
  if (!are_positions(tensor, call.shape(tensor), axes) || network.as<Pad>(tensor.draft) != nullptr)
    throw Error("is supported over all rows and columns only");
  if (network.as<Crop>(tensor.draft) != nullptr)
    return output_bin(call, tensor, reduced_view(tensor, axes, keep), false);
  const int pooled = network.append(graph::SpatialPyramidPool{.levels = {1}}, {tensor.draft});
  call.output(NetworkTensor{pooled, reduced_view(tensor, axes, keep)});
}

/// The product of the sizes of a shape.
void read_product(Call& call) {
  const Constant& constant = call.constant(0);
  if (constant.shape().size() > 1) throw Error("is supported for shapes only");
  read_axes(call, 17, constant.shape().size());
  const bool keep = call.attributes().integer("keepdims", 1) != 0;
  std::uint64_t product = 1;
  for (const std::int64_t value : constant.integers()) product *= static_cast<std::uint64_t>(value);
  call.output(Constant(keep ? Dims(constant.shape().size(), 1) : Dims{},
                       Constant::Integers{static_cast<std::int64_t>(product)}));
}

constexpr std::array kOperators = {
    Operator{.name = "ReduceMean", .max_inputs = 2, .read = read_mean},
    Operator{.name = "ReduceMax", .max_inputs = 2, .read = read_max},
    Operator{.name = "ReduceProd", .max_inputs = 2, .read = read_product},
};

}  // namespace

std::span<const Operator> reduction_operators() { return kOperators; }

}  // namespace offramp::onnx
