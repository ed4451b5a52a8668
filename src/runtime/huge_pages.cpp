#include "runtime/huge_pages.h"

#include <sys/mman.h>

#include <cstdlib>

#include "core/error.h"
#include "runtime/memory_plan.h"

namespace offramp::runtime {

std::shared_ptr<std::byte> allocate_pages(std::size_t bytes) {
  constexpr std::size_t kHugePage = std::size_t{1} << 21;
  const bool large = bytes >= kHugePage;
  const std::size_t alignment = large ? kHugePage : kAlignment;
  const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, size);
  if (memory == nullptr && size > 0)
    throw Error(fmt::format("out of memory: cannot allocate {} bytes", size));
  // The result is ignored: without huge pages the network is only slower.
  if (large) madvise(memory, size, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(memory), std::free};
}

}  // namespace offramp::runtime
