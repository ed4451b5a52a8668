#pragma once

#include <string>

namespace offramp::runtime {

/// The library, version and instruction set that the runtime computes with on this CPU, for example
/// "onednn 2.6.3 avx512_core_bf16". With different kernels the last bits of logits may differ, so a
/// certificate names those that it was computed with. The instruction set is the widest that the
/// CPU has and the environment variable ONEDNN_MAX_CPU_ISA allows.
std::string kernels_name();

}  // namespace offramp::runtime
