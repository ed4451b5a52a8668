#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace offramp::onnx {

/// Returns a tensor [N] of these values.
inline core::HostTensor vector_of(const std::vector<float>& values) {
  return core::HostTensor::of({static_cast<std::int64_t>(values.size())},
                              std::span<const float>(values));
}

}  // namespace offramp::onnx
