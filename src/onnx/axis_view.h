#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "graph/graph.h"

namespace offramp::onnx {

using Dims = std::vector<std::int64_t>;

/// A part of an axis of a tensor of the network: index along the axis = stride × (0 … size - 1),
/// plus what other factors of the same axis add.
struct Factor {
  int axis = 0;  ///< 0 to 2 in {C, H, W}, 0 in {features}
  std::int64_t stride = 1;
  std::int64_t size = 1;
  bool operator==(const Factor&) const = default;
};

/// How an ONNX tensor shows a tensor of the network. Reshape, Transpose, Flatten and their like
/// compute nothing: they only change this view. A dimension of the ONNX tensor (without the batch)
/// is a list of factors, outermost first; factors of size 1 are left out, and neighbours that
/// continue each other are merged. So {C, H, W} is shown as [[C], [H], [W]], after flattening as
/// [[C, H, W]], and with channels last as [[H], [W], [C]].
class AxisView {
 public:
  /// The view with one dimension for each axis.
  static AxisView of(const graph::Shape& shape);
  explicit AxisView(std::vector<std::vector<Factor>> dims);

  std::size_t rank() const { return dims_.size(); }
  const std::vector<Factor>& dim(std::size_t index) const { return dims_[index]; }
  Dims sizes() const;
  std::int64_t size(std::size_t index) const;

  /// Returns the view with other sizes, in row-major order; nullopt if a size does not divide the
  /// factors, or the number of elements differs.
  std::optional<AxisView> reshaped(const Dims& sizes) const;
  /// @param order  the dimension i of the result is dimension order[i] of this
  AxisView permuted(const std::vector<std::size_t>& order) const;
  AxisView with_dim(std::size_t index, const std::vector<Factor>& factors) const;
  AxisView without_dim(std::size_t index) const;

  /// True if the dimension is the whole axis of a tensor of this shape, in its order.
  bool is_axis(std::size_t index, int axis, const graph::Shape& shape) const;
  /// Returns the dimension that is the whole axis 0 of a tensor of this shape; if the axis has size
  /// 1, the first dimension of size 1. nullopt if there is none.
  std::optional<std::size_t> channel_dim(const graph::Shape& shape) const;
  /// True if the dimensions are the axes in their order, perhaps with dimensions of size 1 after
  /// them: [[C], [H], [W]], and for {features} [[F]] or [[F], [], []].
  bool is_plain(const graph::Shape& shape) const;
  /// True if this is one dimension with all axes in their order.
  bool is_flat(const graph::Shape& shape) const;

  bool operator==(const AxisView&) const = default;

 private:
  std::vector<std::vector<Factor>> dims_;
};

/// The whole axis as a dimension: one factor, or none if its size is 1.
std::vector<Factor> whole_axis(const graph::Shape& shape, int axis);

}  // namespace offramp::onnx
