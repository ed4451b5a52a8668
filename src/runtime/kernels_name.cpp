#include "runtime/kernels_name.h"

#include <fmt/format.h>

#include <array>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>
#include <utility>

namespace offramp::runtime {
namespace {

constexpr std::array<std::pair<dnnl::cpu_isa, std::string_view>, 9> kInstructionSets = {{
    {dnnl::cpu_isa::sse41, "sse41"},
    {dnnl::cpu_isa::avx, "avx"},
    {dnnl::cpu_isa::avx2, "avx2"},
    {dnnl::cpu_isa::avx2_vnni, "avx2_vnni"},
    {dnnl::cpu_isa::avx512_core, "avx512_core"},
    {dnnl::cpu_isa::avx512_core_vnni, "avx512_core_vnni"},
    {dnnl::cpu_isa::avx512_core_bf16, "avx512_core_bf16"},
    {dnnl::cpu_isa::avx512_core_amx, "avx512_core_amx"},
    {dnnl::cpu_isa::all, "all"},
}};

std::string_view instruction_set() {
  const dnnl::cpu_isa have = dnnl::get_effective_cpu_isa();
  for (const auto& [isa, name] : kInstructionSets)
    if (isa == have) return name;
  return "other";
}

}  // namespace

std::string kernels_name() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("onednn {}.{}.{} {}", version->major, version->minor, version->patch,
                     instruction_set());
}

std::string arithmetic_name(Precision precision) {
  if (precision != Precision::int8) return "";
  return "int8 arithmetic 1: exact 32-bit sums, rounded once to the nearest even, f32 by offramp";
}

}  // namespace offramp::runtime
