#include "runtime/kernels_name.h"

#include <fmt/format.h>

#include "runtime/onednn.h"

namespace offramp::runtime {

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
