#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace offramp {

/// A file to download, and how to know that it is whole.
struct Download {
  std::string url;
  std::string md5;  ///< 32 hex digits
  std::string file_name;
};

/// The official archive of a named data set ("cifar10", "cifar100"). The environment variables
/// OFFRAMP_CIFAR10_URL and OFFRAMP_CIFAR100_URL name another place to get the same file from.
/// @throws UsageError for another name
Download known_download(const std::string& name);

struct FetchProgress {
  std::int64_t received = 0;
  std::int64_t total = 0;  ///< 0: not known
};

struct FetchOptions {
  int retries = 3;             ///< in a row without a new byte
  int pause_ms = 1000;         ///< before the first retry; doubles with each
  int connect_timeout_s = 15;  ///< a server that cannot be reached at all is not tried again
  int low_speed_s = 30;        ///< below 1 KB/s for so long: the connection counts as lost
  std::int64_t max_bytes = std::int64_t{4} << 30;  ///< larger files are refused
};

/// Downloads to `folder`/file_name. Goes on where an earlier try stopped (<file>.part, HTTP range);
/// a server that does not resume restarts it. The file appears under its name only once its MD5 is
/// right; already there and right: nothing is downloaded. Only https:// is spoken, and http:// to
/// this machine itself; redirects lead to https:// alone.
/// @param progress  called now and then; what it throws ends the download, which can be resumed
/// @throws Error with URL and reason: no network, HTTP status, wrong MD5 (the damaged part is
/// removed), another process downloading the same file; with the path if it cannot be written
std::filesystem::path fetch(const Download& download, const std::filesystem::path& folder,
                            const std::function<void(const FetchProgress&)>& progress = {},
                            const FetchOptions& options = {});

}  // namespace offramp
