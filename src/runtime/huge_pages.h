#pragma once

#include <cstddef>
#include <memory>

namespace offramp::runtime {

/// Allocates memory aligned to kAlignment, in huge pages if it is large and the system has them. A
/// network reads tens of megabytes for every image, and with small pages the CPU's address
/// translation cache does not cover them. @throws Error if there is not enough memory
std::shared_ptr<std::byte> allocate_pages(std::size_t bytes);

}  // namespace offramp::runtime
