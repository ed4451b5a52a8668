#include "runtime/kernels_name.h"

#include <fmt/format.h>

#include "runtime/onednn.h"

namespace offramp {

std::string kernels_name() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("onednn {}.{}.{} {}", version->major, version->minor, version->patch,
                     instruction_set());
}

}  // namespace offramp
