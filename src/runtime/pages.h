#pragma once

#include <cstddef>
#include <memory>

namespace offramp {

/// Memory aligned to kAlignment, in huge pages if it is large and the system has them: a network
/// walks over tens of megabytes for every image, more than the processor can translate addresses of
/// in small pages. @throws std::bad_alloc
std::shared_ptr<std::byte> allocate_pages(std::size_t bytes);

}  // namespace offramp
