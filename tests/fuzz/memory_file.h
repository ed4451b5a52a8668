#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace offramp {

/// A file that exists in memory only, for functions that read from a path. Any failure aborts.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("fuzz", 0)) {
    if (descriptor_ < 0) std::abort();
  }
  MemoryFile(const std::uint8_t* data, std::size_t size) : MemoryFile() {
    while (size > 0) {
      const ssize_t done = ::write(descriptor_, data, size);
      if (done <= 0) std::abort();
      data += done;
      size -= static_cast<std::size_t>(done);
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace offramp
