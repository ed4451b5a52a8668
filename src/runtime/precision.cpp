#include "runtime/precision.h"

#include <array>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "runtime/onednn.h"

namespace offramp::runtime {
namespace {

constexpr std::array<std::pair<Precision, std::string_view>, 3> kPrecisions = {
    {{Precision::f32, "f32"}, {Precision::bf16, "bf16"}, {Precision::int8, "int8"}}};

}  // namespace

std::string_view to_string(Precision precision) {
  for (const auto& [value, word] : kPrecisions)
    if (value == precision) return word;
  throw Error("unknown precision");
}

Precision precision_from_string(std::string_view word) {
  return core::find_by_name(kPrecisions, "precision", word);
}

bool has_instructions_for(Precision precision) {
  if (precision == Precision::f32) return true;
  if (precision == Precision::bf16) return has_instruction_set(dnnl::cpu_isa::avx512_core_bf16);
  // Without VNNI, 8-bit products are added in 16 bits, which may saturate and change the logits.
  return has_instruction_set(dnnl::cpu_isa::avx512_core_vnni) ||
         has_instruction_set(dnnl::cpu_isa::avx2_vnni);
}

Precision usable_precision(Precision wanted) {
  return has_instructions_for(wanted) ? wanted : Precision::f32;
}

}  // namespace offramp::runtime
