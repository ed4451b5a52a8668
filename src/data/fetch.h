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

/// The official archive of a named data set ("cifar10", "cifar100"). @throws UsageError for another
/// name
Download known_download(const std::string& name);

struct FetchProgress {
  std::int64_t received = 0;
  std::int64_t total = 0;  ///< 0: not known
};

/// Downloads to `folder`/file_name. Goes on where an earlier try stopped (<file>.part, HTTP range);
/// a server that does not resume restarts it. The file appears under its name only once its MD5 is
/// right; already there and right: nothing is downloaded.
/// @throws Error with URL and reason: no network, HTTP status, wrong MD5 (the damaged part is
/// removed)
std::filesystem::path fetch(const Download& download, const std::filesystem::path& folder,
                            const std::function<void(const FetchProgress&)>& progress = {});

}  // namespace offramp
