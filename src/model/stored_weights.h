#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/safetensors.h"
#include "core/tensor.h"
#include "graph/graph.h"

namespace offramp::model {

// Weights in a model file are F32 or BF16, those of convolutions also I8. For an I8 weight `<name>`
// the file also has the F32 tensor `<name>_scale`, with one scale per index of the first dimension.

inline constexpr std::string_view kScaleSuffix = "_scale";

/// Returns the place of a tensor for messages: tensor "<name>".
std::string place_of(std::string_view tensor);

/// Checks a shape. @throws Error if it differs from the graph's
void check_shape(const std::vector<std::int64_t>& got, const graph::Parameter& expected);

/// Checks a weight.
/// @throws Error if it is neither F32 nor BF16, its shape differs from the graph's, or it has a
/// value that is not finite or a negative variance
void check_weight(const core::TensorView& tensor, const graph::Parameter& parameter);
void check_weight(const core::HostTensor& tensor, const graph::Parameter& parameter);

/// Checks an I8 tensor.
/// @throws Error if it is not the weight of a convolution, its shape differs from the graph's, or
/// it has the value -128
void check_integers(const core::TensorView& tensor, const graph::Parameter& parameter);

/// Reads the scales of an I8 weight.
/// @throws Error if they are missing, or if a scale is not above 0 or is so large that a weight
/// would not be finite
std::vector<float> read_scales(const core::Safetensors& file, const graph::Parameter& parameter);

/// Returns the values of an I8 weight, scale times integer. @param elements  bytes of the I8 tensor
std::vector<float> dequantise(std::span<const std::byte> elements,
                              const std::vector<float>& scales);

/// Converts a weight to integers, value / scale.
/// @throws Error if a value is not a multiple of its scale
core::HostTensor quantise_weight(const core::HostTensor& weight, const std::vector<float>& scales,
                                 const std::string& name);

}  // namespace offramp::model
