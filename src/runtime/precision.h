#pragma once

#include <string_view>

namespace offramp {

/// In which numbers a network is executed. All that comes after a head's pooling is f32 in every
/// precision.
enum class Precision {
  f32,
  bf16,  ///< weights and activations of images in bf16
  int8,  ///< both in 8 bits with scales (see runtime/ranges.h), summed in 32
};

std::string_view to_string(Precision precision);
/// @throws UsageError naming the nearest
Precision precision_from_string(std::string_view word);

/// Whether this CPU, as far as ONEDNN_MAX_CPU_ISA lets us use it, has instructions for a precision.
bool has_instructions_for(Precision precision);

/// The precision itself if the CPU has its instructions, else the next wider one.
Precision usable_precision(Precision wanted);

}  // namespace offramp
