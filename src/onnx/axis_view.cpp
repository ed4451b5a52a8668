#include "onnx/axis_view.h"

#include <algorithm>

namespace offramp::onnx {
namespace {

std::vector<Factor> merged(const std::vector<Factor>& factors) {
  std::vector<Factor> result;
  for (const Factor& factor : factors) {
    if (factor.size == 1) continue;
    if (!result.empty() && result.back().axis == factor.axis &&
        result.back().stride == factor.stride * factor.size) {
      result.back().stride = factor.stride;
      result.back().size *= factor.size;
    } else {
      result.push_back(factor);
    }
  }
  return result;
}

std::int64_t product(const std::vector<Factor>& factors) {
  std::int64_t size = 1;
  for (const Factor& factor : factors) size *= factor.size;
  return size;
}

}  // namespace

std::vector<Factor> whole_axis(const graph::Shape& shape, int axis) {
  return merged({{axis, 1, shape[static_cast<std::size_t>(axis)]}});
}

AxisView::AxisView(std::vector<std::vector<Factor>> dims) : dims_(std::move(dims)) {
  for (std::vector<Factor>& dim : dims_) dim = merged(dim);
}

AxisView AxisView::of(const graph::Shape& shape) {
  std::vector<std::vector<Factor>> dims;
  for (std::size_t i = 0; i < shape.size(); ++i)
    dims.push_back(whole_axis(shape, static_cast<int>(i)));
  return AxisView(std::move(dims));
}

std::int64_t AxisView::size(std::size_t index) const { return product(dims_[index]); }

Dims AxisView::sizes() const {
  Dims sizes;
  for (const std::vector<Factor>& dim : dims_) sizes.push_back(product(dim));
  return sizes;
}

std::optional<AxisView> AxisView::reshaped(const Dims& sizes) const {
  std::vector<Factor> rest;  // innermost last
  for (const std::vector<Factor>& dim : dims_) rest.insert(rest.end(), dim.begin(), dim.end());
  rest = merged(rest);
  std::reverse(rest.begin(), rest.end());  // the next factor is at the back
  std::vector<std::vector<Factor>> dims;
  for (std::int64_t wanted : sizes) {
    if (wanted < 1) return std::nullopt;
    std::vector<Factor>& dim = dims.emplace_back();
    while (wanted > 1) {
      if (rest.empty()) return std::nullopt;
      Factor& next = rest.back();
      if (wanted % next.size == 0) {
        dim.push_back(next);
        wanted /= next.size;
        rest.pop_back();
      } else if (next.size % wanted == 0) {
        next.size /= wanted;
        dim.push_back({next.axis, next.stride * next.size, wanted});
        wanted = 1;
      } else {
        return std::nullopt;
      }
    }
  }
  if (!rest.empty()) return std::nullopt;
  return AxisView(std::move(dims));
}

AxisView AxisView::permuted(const std::vector<std::size_t>& order) const {
  std::vector<std::vector<Factor>> dims;
  for (const std::size_t index : order) dims.push_back(dims_[index]);
  return AxisView(std::move(dims));
}

AxisView AxisView::with_dim(std::size_t index, const std::vector<Factor>& factors) const {
  AxisView result = *this;
  result.dims_.insert(result.dims_.begin() + static_cast<std::ptrdiff_t>(index), merged(factors));
  return result;
}

AxisView AxisView::without_dim(std::size_t index) const {
  AxisView result = *this;
  result.dims_.erase(result.dims_.begin() + static_cast<std::ptrdiff_t>(index));
  return result;
}

bool AxisView::is_axis(std::size_t index, int axis, const graph::Shape& shape) const {
  return dims_[index] == whole_axis(shape, axis);
}

std::optional<std::size_t> AxisView::channel_dim(const graph::Shape& shape) const {
  for (std::size_t i = 0; i < dims_.size(); ++i)
    if (is_axis(i, 0, shape)) return i;
  return std::nullopt;
}

bool AxisView::is_plain(const graph::Shape& shape) const {
  if (rank() < shape.size()) return false;
  for (std::size_t i = 0; i < rank(); ++i)
    if (i < shape.size() ? !is_axis(i, static_cast<int>(i), shape) : !dims_[i].empty())
      return false;
  return true;
}

bool AxisView::is_flat(const graph::Shape& shape) const {
  if (rank() != 1) return false;
  std::vector<Factor> all;
  for (std::size_t i = 0; i < shape.size(); ++i) all.push_back({static_cast<int>(i), 1, shape[i]});
  return dims_[0] == merged(all);
}

}  // namespace offramp::onnx
