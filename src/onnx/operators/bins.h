#pragma once

#include <optional>

#include "onnx/operators.h"

namespace offramp::onnx {

// Pools with a fixed grid (spatial pyramid pools and adaptive average pools) are no operators of
// ONNX: exporters write a Slice and a reduction for each bin, or a MaxPool where all bins have the
// same size, and join them with Concat.

/// Takes the rows or columns begin … end - 1 of an image. @param axis  1 for rows, 2 for columns
NetworkTensor cropped(Call& call, const NetworkTensor& tensor, std::size_t axis, std::int64_t begin,
                      std::int64_t end);

/// Returns the output of a Concat whose inputs are all the bins of a grid, row by row; nullopt if
/// they are anything else.
std::optional<NetworkTensor> joined_bins(Call& call, std::size_t axis);

/// Returns the output of a Concat whose inputs are the levels of a pyramid pool; nullopt if they
/// are anything else.
std::optional<NetworkTensor> joined_levels(Call& call, std::size_t axis);

}  // namespace offramp::onnx
