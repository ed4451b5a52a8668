#pragma once

#include <cstddef>
#include <functional>

namespace offramp::detail {

/// How many threads work on images: the machine's cores, at least 2, so that one can wait for the
/// disk.
int worker_count();

/// Calls `work(i)` for i = 0 … count - 1 from several threads, each i once. After an exception no
/// further call begins; the first one is thrown again here.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work);

}  // namespace offramp::detail
