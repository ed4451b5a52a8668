#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/safetensors.h"
#include "core/tensor.h"
#include "graph/graph.h"

namespace offramp {

// A model's weights as they lie in a file: F32 or BF16, those of convolutions also I8. An I8 weight
// `<name>` has beside it `<name>_scale`, F32, one for each of its first dimension.

inline constexpr std::string_view kScaleSuffix = "_scale";

/// How messages call a tensor.
std::string place_of(std::string_view tensor);

/// @throws Error if a shape is not the graph's
void check_shape(const std::vector<std::int64_t>& got, const Parameter& expected);

/// @throws Error if a weight is neither F32 nor BF16, has another shape than the graph's, or holds
///         a value that is not finite or a negative variance
void check_weight(const TensorView& tensor, const Parameter& parameter);
void check_weight(const HostTensor& tensor, const Parameter& parameter);

/// @throws Error if an I8 tensor is not the weight of a convolution, has another shape than the
///         graph's, or holds -128
void check_integers(const TensorView& tensor, const Parameter& parameter);

/// The scales of an I8 weight. @throws Error if they are missing, or one is not above 0, or so
/// large that a weight would not be finite
std::vector<float> read_scales(const Safetensors& file, const Parameter& parameter);

/// Scale times integer. @param elements  of an I8 tensor
std::vector<float> scaled(std::span<const std::byte> elements, const std::vector<float>& scales);

/// The integers of a weight. @throws Error if a value is no multiple of its scale
HostTensor in_eight_bits(const HostTensor& weight, const std::vector<float>& scales,
                         const std::string& name);

}  // namespace offramp
