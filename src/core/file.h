#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offramp {

/// Reads a whole file. @throws Error "<path>: cannot open: <reason>", or if it is larger than
/// `max_bytes`.
std::vector<std::byte> read_file(const std::filesystem::path& path,
                                 std::uint64_t max_bytes = std::uint64_t{1} << 40);
std::string read_text(const std::filesystem::path& path);

/// Replaces `path` in one step: writes a temporary file beside it, flushes it to the disk, renames
/// it. After a crash or a full disk the old content is whole, and the temporary file is removed if
/// we still can; what a killed process left in the folder goes with a later write there. A link
/// keeps pointing where it did, and a device is never replaced by a file.
/// @throws Error "<path>: cannot write: No space left on device" and the like
void write_file_atomic(const std::filesystem::path& path,
                       std::span<const std::span<const std::byte>> parts);
void write_text_atomic(const std::filesystem::path& path, std::string_view text);
/// Throws what write_file_atomic would throw if it cannot begin: to be asked before long work.
void check_writable(const std::filesystem::path& path);
/// True for the name of such a temporary file: what a killed process may leave behind.
bool is_temporary(const std::filesystem::path& path);
/// Removes the temporary files that killed processes left in the folder. Those that a living
/// process writes stay: it holds a lock on them.
void remove_leftovers(const std::filesystem::path& folder);

/// A lock that one process at a time holds, on a file that is made for it and left in place. It
/// ends with this object, or with the process, however that ends. Movable.
class FileLock {
 public:
  /// @return nullopt if another process, or another FileLock of this one, holds it
  /// @throws Error if the file cannot be opened
  static std::optional<FileLock> try_lock(const std::filesystem::path& path);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

/// Appends one line and flushes it (jsonl logs).
void append_line(const std::filesystem::path& path, std::string_view line);

/// A file mapped read-only for as long as this lives. Movable.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Gives the memory of a part back to the system, which reads it again when it is looked at.
  void drop(std::span<const std::byte> part) const;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A folder of its own under the system's temporary folder, removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace offramp
