#pragma once

#include <vector>

#include "onnx/constant.h"

namespace offramp::onnx {

// Arithmetic on constants, as ONNX defines it. Results are checked against kMaxElements; the caller
// limits their number (see Call::spend).

/// The shape that NumPy's rules give for two operands. @throws Error if they do not match
Dims broadcast_shape(const Dims& a, const Dims& b);

/// Calls f on the elements of both operands, repeated to the same shape. If both hold integers, the
/// result does too. @param integers, floats  the function for each type
Constant combine(const Constant& a, const Constant& b,
                 std::int64_t (*integers)(std::int64_t, std::int64_t),
                 float (*floats)(float, float));
/// Repeats a constant to a larger shape.
Constant broadcast(const Constant& constant, const Dims& shape);

/// @param order  dimension i of the result is dimension order[i]
Constant transposed(const Constant& constant, const std::vector<std::size_t>& order);
/// Takes the elements at `indices` along an axis; dimensions in range.
Constant taken(const Constant& constant, std::size_t axis,
               const std::vector<std::int64_t>& indices);
/// Joins constants of the same type along an axis. @throws Error if their shapes do not match
Constant joined(const std::vector<const Constant*>& parts, std::size_t axis);

/// The indices that begin : end : step selects of `size` elements, with ONNX's rules for negative
/// and too large values. @throws Error if step is 0
std::vector<std::int64_t> slice_indices(std::int64_t begin, std::int64_t end, std::int64_t step,
                                        std::int64_t size);

}  // namespace offramp::onnx
