#pragma once

#include <torch/torch.h>

#include <string>
#include <utility>

#include "core/error.h"
#include "recipe/recipe.h"

namespace offramp::train {

/// "cpu" or "cuda[:N]". @throws UsageError if this LibTorch has no such device
torch::Device device_named(const std::string& name);

/// Number of threads for operations; 0: all cores. Debian's LibTorch would use one.
void set_threads(int threads);

/// Makes the C library keep freed memory instead of handing large blocks back to the system: a step
/// frees and allocates the same activations again, and the kernel would clear every page of them
/// anew (12 % of a step).
void keep_freed_memory();

/// True if convolutions in bf16 are faster than in f32 here: AVX-512 with BF16 or AMX, or a GPU
/// that has it.
bool has_fast_bf16(torch::Device device);

torch::ScalarType resolve_precision(PrecisionChoice choice, torch::Device device);

/// Runs `work`; what LibTorch throws becomes an Error of one line.
template <typename F>
auto translate_torch_errors(const F& work) -> decltype(work()) {
  try {
    return work();
  } catch (const c10::Error& e) {
    const std::string text = e.what_without_backtrace();
    throw Error("LibTorch: {}", text.substr(0, text.find('\n')));
  }
}

}  // namespace offramp::train
