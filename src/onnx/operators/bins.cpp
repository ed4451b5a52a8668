#include "onnx/operators/bins.h"

#include <set>

#include "core/error.h"

namespace offramp::onnx {
namespace {

/// The bins of a grid, as PyTorch's adaptive pools divide an image, row by row.
std::vector<Crop> grid_of(const graph::Shape& image, std::int64_t rows, std::int64_t columns) {
  const auto begin = [](std::int64_t size, std::int64_t count, std::int64_t i) {
    return size * i / count;
  };
  const auto end = [](std::int64_t size, std::int64_t count, std::int64_t i) {
    return (size * (i + 1) + count - 1) / count;
  };
  std::vector<Crop> bins;
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j)
      bins.push_back({begin(image[1], rows, i), end(image[1], rows, i), begin(image[2], columns, j),
                      end(image[2], columns, j)});
  return bins;
}

/// A level of a pyramid pool.
struct Level {
  int image = 0;  ///< the draft that is pooled
  std::vector<int> levels;
};

/// Returns the level that a tensor [N, features] holds; nullopt if it is anything else.
std::optional<Level> level_of(const NetworkDraft& network, const NetworkTensor& tensor) {
  const graph::Shape& shape = network.shape(tensor.draft);
  if (tensor.draft == 0 || tensor.view.rank() != 1 || !tensor.view.is_flat(shape))
    return std::nullopt;
  const int image = network[tensor.draft].inputs[0];
  if (const auto* pyramid = network.as<graph::SpatialPyramidPool>(tensor.draft))
    return Level{image, pyramid->levels};
  const auto* pool = network.as<graph::MaxPool>(tensor.draft);
  if (pool == nullptr || shape[1] != shape[2] || pool->padding != graph::Padding(0) ||
      pool->dilation != graph::Extent(1))
    return std::nullopt;
  const graph::Shape& in = network.shape(image);
  const auto divides = [&](int kernel, int stride, std::size_t axis) {
    return kernel * shape[axis] == in[axis] && (kernel == stride || shape[axis] == 1);
  };
  if (!divides(pool->kernel.h, pool->stride.h, 1) || !divides(pool->kernel.w, pool->stride.w, 2))
    return std::nullopt;
  return Level{image, {static_cast<int>(shape[1])}};
}

}  // namespace

NetworkTensor cropped(Call& call, const NetworkTensor& tensor, std::size_t axis, std::int64_t begin,
                      std::int64_t end) {
  NetworkDraft& network = call.network();
  int image = tensor.draft;
  graph::Shape shape = network.shape(image);
  Crop part{0, shape[1], 0, shape[2]};
  if (const auto* outer = network.as<Crop>(image)) {
    part = *outer;
    image = network[image].inputs[0];
  }
  std::int64_t& first = axis == 1 ? part.top : part.left;
  (axis == 1 ? part.bottom : part.right) = first + end;
  first += begin;
  shape[axis] = end - begin;
  const int draft = network.append_piece(part, image, shape);
  return {draft, AxisView::of(shape)};
}

std::optional<NetworkTensor> joined_bins(Call& call, std::size_t axis) {
  NetworkDraft& network = call.network();
  if (axis != 2 || call.num_inputs() < 2) return std::nullopt;
  std::vector<Crop> bins;
  std::set<std::int64_t> tops;
  int image = 0;
  bool is_mean = false;
  for (std::size_t i = 0; i < call.num_inputs(); ++i) {
    const NetworkTensor& tensor = call.tensor(i);
    const auto* bin = network.as<Bin>(tensor.draft);
    if (bin == nullptr || tensor.view.rank() != 3 ||
        !tensor.view.is_plain(network.shape(tensor.draft)))
      return std::nullopt;
    const int source = network[tensor.draft].inputs[0];
    if (i == 0) {
      image = source;
      is_mean = bin->is_mean;
    }
    if (source != image || bin->is_mean != is_mean) return std::nullopt;
    bins.push_back(bin->part);
    tops.insert(bin->part.top);
  }
  const graph::Shape shape = network.shape(image);
  const auto count = static_cast<std::int64_t>(bins.size());
  const auto rows = static_cast<std::int64_t>(tops.size());
  const std::int64_t columns = count / rows;
  if (bins != grid_of(shape, rows, columns) || (!is_mean && rows != columns)) return std::nullopt;
  const graph::Extent grid{static_cast<int>(rows), static_cast<int>(columns)};
  const int pooled = is_mean
                         ? network.append(graph::AdaptiveAvgPool{.grid = grid}, {image})
                         : network.append(graph::SpatialPyramidPool{.levels = {grid.h}}, {image});
  const auto view = AxisView::of(network.shape(pooled)).reshaped({shape[0], count, 1});
  if (!view) return std::nullopt;
  return NetworkTensor{pooled, *view};
}

std::optional<NetworkTensor> joined_levels(Call& call, std::size_t axis) {
  NetworkDraft& network = call.network();
  if (axis != 1 || call.num_inputs() < 2) return std::nullopt;
  graph::SpatialPyramidPool pool{.levels = {}};
  int image = 0;
  for (std::size_t i = 0; i < call.num_inputs(); ++i) {
    const auto level = level_of(network, call.tensor(i));
    if (!level || (i > 0 && level->image != image)) return std::nullopt;
    image = level->image;
    pool.levels.insert(pool.levels.end(), level->levels.begin(), level->levels.end());
  }
  const int pooled = network.append(pool, {image});
  return NetworkTensor{pooled, AxisView::of(network.shape(pooled))};
}

}  // namespace offramp::onnx
