#include "train/torch_setup.h"

#include <algorithm>
#include <limits>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "core/parallel.h"
#include "train/compat.h"

namespace offramp::train {

torch::Device device_from_name(const std::string& name) {
  if (name == "cpu") return torch::kCPU;
  if (name == "cuda" || name.starts_with("cuda:")) {
    if (!torch::cuda::is_available())
      throw UsageError(
          fmt::format("--device {}: this LibTorch sees no CUDA device; use --device cpu", name));
    try {
      const torch::Device device(name);
      if (device.has_index() && device.index() >= static_cast<int>(torch::cuda::device_count()))
        throw UsageError(fmt::format("--device {}: there are {} CUDA devices, counted from 0", name,
                                     torch::cuda::device_count()));
      return device;
    } catch (const c10::Error&) {
    }
  }
  throw UsageError(fmt::format("--device: unknown device \"{}\"; known: cpu, cuda, cuda:N", name));
}

void set_threads(int threads, int processes) {
  const int share = std::max(1, core::usable_cores() / processes);
  torch::set_num_threads(threads > 0 ? threads : share);
}

void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

bool has_fast_bf16(torch::Device device) {
  if (device.is_cuda()) return compat::cuda_has_bf16(device);
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

torch::ScalarType resolve_precision(recipe::PrecisionChoice choice, torch::Device device) {
  if (choice == recipe::PrecisionChoice::automatic)
    return has_fast_bf16(device) ? torch::kBFloat16 : torch::kFloat;
  return choice == recipe::PrecisionChoice::bf16 ? torch::kBFloat16 : torch::kFloat;
}

}  // namespace offramp::train
