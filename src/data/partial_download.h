#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

// The file that a download is written to. Internal to src/data.
namespace offramp::data::detail {

/// Computes an MD5 (RFC 1321) incrementally. MD5 detects damage, but not deliberate forgery.
class Md5 {
 public:
  Md5();
  ~Md5();
  void add(std::span<const std::byte> bytes);
  /// The MD5 of all bytes added so far, as 32 lower-case hex digits. More bytes may be added later.
  std::string hex() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Computes the MD5 of a file. @throws Error "<path>: cannot open: <reason>"
std::string md5_of_file(const std::filesystem::path& path);

/// A partly downloaded file. It has the name <target>.part until it is complete, and is locked
/// against other processes. Bytes from an earlier run are kept; the destructor deletes the file if
/// it is empty.
class PartialDownload {
 public:
  /// @throws Error "<path>: …" if it cannot be opened or another process is writing it
  explicit PartialDownload(const std::filesystem::path& target);
  PartialDownload(const PartialDownload&) = delete;
  PartialDownload& operator=(const PartialDownload&) = delete;
  ~PartialDownload();

  const std::filesystem::path& path() const { return path_; }
  std::int64_t size() const { return size_; }
  /// MD5 of the content so far, as 32 hex digits.
  std::string md5() const { return md5_->hex(); }

  /// @throws Error "<path>: cannot write: <reason>"
  void append(std::span<const std::byte> bytes);
  void clear();
  /// Deletes the file.
  void remove();
  /// Flushes the file to disk and renames it to the target.
  /// @throws Error "<path>: cannot write: <reason>"
  void publish();

 private:
  std::filesystem::path target_, path_;
  int fd_ = -1;
  std::int64_t size_ = 0;
  std::unique_ptr<Md5> md5_;
};

}  // namespace offramp::data::detail
