#pragma once

#include <archive.h>

#include <memory>
#include <string>

namespace offramp::data {

struct FreeReader {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
using OpenArchive = std::unique_ptr<archive, FreeReader>;

/// Returns why libarchive's last call failed.
inline std::string last_error(archive* reader) {
  const char* reason = archive_error_string(reader);
  return reason == nullptr ? "unknown error" : reason;
}

}  // namespace offramp::data
