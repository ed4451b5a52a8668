#pragma once

#include <torch/torch.h>

#include <string>
#include <utility>

#include "core/error.h"
#include "recipe/recipe.h"

namespace offramp::train {

/// Returns the device called "cpu", "cuda" or "cuda:N".
/// @throws UsageError if the name is unknown or this LibTorch has no such device
torch::Device device_from_name(const std::string& name);

/// Sets LibTorch's number of threads for operations; 0 sets one per core, or a share of the cores
/// if there are several `processes` on this machine. Debian's LibTorch uses one thread by default.
void set_threads(int threads, int processes = 1);

/// Makes the C library keep freed memory instead of returning large blocks to the system. Every
/// step frees and allocates the same activations, and the kernel would clear each page again, which
/// takes 12 % of a step.
void keep_freed_memory();

/// True if the device has instructions for bf16, so that convolutions in bf16 are faster than in
/// f32: a CPU with AVX-512 BF16, or a CUDA device of compute capability 8.0 and up.
bool has_fast_bf16(torch::Device device);

torch::ScalarType resolve_precision(recipe::PrecisionChoice choice, torch::Device device);

/// Calls `work`; turns an exception of LibTorch into an Error with a one-line message.
template <typename F>
auto translate_torch_errors(const F& work) -> decltype(work()) {
  try {
    return work();
  } catch (const c10::Error& e) {
    const std::string text = e.what_without_backtrace();
    throw Error(fmt::format("LibTorch: {}", text.substr(0, text.find('\n'))));
  }
}

}  // namespace offramp::train
