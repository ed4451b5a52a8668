#pragma once

#include <string>

namespace offramp {

/// Whose kernels the runtime runs on this CPU: "onednn 2.6.3 avx512_core_bf16". Under another name
/// logits may differ in their last bits; a certificate says under which they were computed. The
/// instruction set is the widest that oneDNN may use, as far as ONEDNN_MAX_CPU_ISA lets it.
std::string kernels_name();

}  // namespace offramp
