#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

// What fetch writes to; not part of the folder's interface.
namespace offramp::detail {

/// A running MD5 (RFC 1321): it tells damage, not forgery.
class Md5 {
 public:
  Md5();
  ~Md5();
  void add(std::span<const std::byte> bytes);
  /// 32 lower-case hex digits of what was added so far; more may follow.
  std::string hex() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The MD5 of a file. @throws Error "<path>: cannot open: <reason>"
std::string md5_of_file(const std::filesystem::path& path);

/// A file that grows towards `target` under the name <target>.part, locked against other processes.
/// What an earlier run left in it is kept; an empty one goes with this object.
class PartFile {
 public:
  /// @throws Error "<path>: …" if it cannot be opened or another process is writing it
  explicit PartFile(const std::filesystem::path& target);
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  ~PartFile();

  const std::filesystem::path& path() const { return path_; }
  std::int64_t size() const { return size_; }
  /// MD5 of the content so far.
  std::string md5() const { return md5_->hex(); }

  /// @throws Error "<path>: cannot write: No space left on device" and the like
  void append(std::span<const std::byte> bytes);
  void clear();
  /// Deletes it.
  void remove();
  /// Flushes it to the disk and gives it the target's name.
  void publish();

 private:
  std::filesystem::path target_, path_;
  int fd_ = -1;
  std::int64_t size_ = 0;
  std::unique_ptr<Md5> md5_;
};

}  // namespace offramp::detail
