#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace offramp::data {

/// A file to download, and the checksum that it must have.
struct Download {
  std::string url;
  std::string md5;  ///< 32 hex digits
  std::string file_name;
};

/// Returns the official archive of a data set: "cifar10" or "cifar100". The environment variables
/// OFFRAMP_CIFAR10_URL and OFFRAMP_CIFAR100_URL, where set, replace the URL of the same file.
/// @throws UsageError for any other name
Download known_download(const std::string& name);

struct FetchProgress {
  std::int64_t received = 0;  ///< bytes
  std::int64_t total = 0;     ///< bytes; 0: not known
};

struct FetchOptions {
  int retries = 3;             ///< successive retries without a new byte before fetch gives up
  int pause_ms = 1000;         ///< pause before the first retry; it doubles with each retry
  int connect_timeout_s = 15;  ///< a server that does not answer in this time is not tried again
  int low_speed_s = 30;  ///< a connection that stays below 1 KB/s for this time counts as lost
  std::int64_t max_bytes = std::int64_t{4} << 30;  ///< larger files are refused
};

/// Downloads a file to `folder`/file_name and returns its path. An interrupted download continues
/// from <file>.part with an HTTP range request; if the server does not support ranges, it starts
/// again. The file gets its name only when its MD5 is correct. If a file with this name and MD5
/// exists already, nothing is downloaded. Folders that it created and left empty are removed. Only
/// https:// URLs are accepted, and http:// ones to the loopback interface; redirects are followed
/// to https:// alone.
/// @param progress  called repeatedly during the download; an exception from it ends the download,
/// which a later call can resume
/// @throws Error with URL and reason: no network, an HTTP error status, a wrong MD5 (the damaged
/// data is removed), another process that downloads the same file; with the path if the file cannot
/// be written
std::filesystem::path fetch(const Download& download, const std::filesystem::path& folder,
                            const std::function<void(const FetchProgress&)>& progress = {},
                            const FetchOptions& options = {});

}  // namespace offramp::data
