#pragma once

// Names for things that differ between LibTorch 1.13 (Debian, CPU only) and 2.x with CUDA.

#include <torch/torch.h>
#include <torch/version.h>

#include <optional>

#if defined(OFFRAMP_TORCH_CUDA)
#include <ATen/cuda/CUDAContext.h>
#endif

namespace offramp::train::compat {

// The type of an optional argument of an autograd function: std::optional since LibTorch 2.4, c10's
// own class before.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
template <typename T>
using optional = std::optional<T>;
#else
template <typename T>
using optional = c10::optional<T>;
#endif

/// Lets a store use sockets alone. LibTorch 2.4 and later ask for libuv, which Debian's lacks.
template <typename StoreOptions>
void use_sockets_alone([[maybe_unused]] StoreOptions& options) {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
  options.useLibUV = false;
#endif
}

/// True if the CUDA device has instructions for bf16 (compute capability 8.0 and up).
inline bool cuda_has_bf16([[maybe_unused]] torch::Device device) {
#if defined(OFFRAMP_TORCH_CUDA)
  const auto* properties = at::cuda::getDeviceProperties(device.index() < 0 ? 0 : device.index());
  return properties->major >= 8;
#else
  return false;
#endif
}

}  // namespace offramp::train::compat
