#pragma once

#include <string_view>

namespace offramp::runtime {

/// The number format in which a network is executed. The layers after a head's pooling are executed
/// in f32 in every precision.
enum class Precision {
  f32,
  bf16,  ///< weights and image tensors in bf16
  int8,  ///< weights and image tensors in 8 bits with scales (see runtime/activation_ranges.h),
         ///< sums in 32 bits
};

std::string_view to_string(Precision precision);
/// @throws UsageError for an unknown word, with the nearest known one
Precision precision_from_string(std::string_view word);

/// Whether this CPU has the instructions for a precision, as far as the environment variable
/// ONEDNN_MAX_CPU_ISA allows their use.
bool has_instructions_for(Precision precision);

/// Returns `wanted` if the CPU has the instructions for it, else f32.
Precision usable_precision(Precision wanted);

}  // namespace offramp::runtime
