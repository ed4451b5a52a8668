#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offramp::core {

/// Reads a whole file. @throws Error "<path>: cannot open: <reason>", if the file is larger than
/// `max_bytes`, or if it is a named pipe and no program writes to it within 2 seconds
std::vector<std::byte> read_file(const std::filesystem::path& path,
                                 std::uint64_t max_bytes = std::uint64_t{1} << 40);
/// Reads a whole file as text. @throws Error  as read_file()
std::string read_text(const std::filesystem::path& path);

/// Replaces `path` in one step: writes a temporary file in the same folder, flushes it to the disk
/// and renames it. If the write fails or the program crashes, the old content is unchanged. The
/// temporary file is removed on failure; if the process was killed, a later write to the same
/// folder removes it. If `path` is a symbolic link, the file it points to is replaced. A device is
/// never replaced.
/// @throws Error "<path>: cannot write: No space left on device" and the like
void write_file_atomic(const std::filesystem::path& path,
                       std::span<const std::span<const std::byte>> parts);
void write_text_atomic(const std::filesystem::path& path, std::string_view text);
/// Throws the error that write_file_atomic would throw when it creates its temporary file. Callers
/// use it before long work, so that an output that cannot be written is reported at once.
void check_writable(const std::filesystem::path& path);
/// Whether `path` has the name of a temporary file of write_file_atomic.
bool is_temporary(const std::filesystem::path& path);
/// Removes the temporary files that killed processes left in the folder. Files that a running
/// process is writing stay, because that process holds a lock on them.
void remove_leftovers(const std::filesystem::path& folder);

/// A lock that at most one process holds at a time. It is a lock on a file, which is created if it
/// does not exist and is never removed. The lock is released when this object is destroyed or the
/// process ends in any way. Movable.
class FileLock {
 public:
  /// @return nullopt if another process, or another FileLock of this one, holds it
  /// @throws Error if the file cannot be opened
  static std::optional<FileLock> try_lock(const std::filesystem::path& path);
  /// Waits for the lock on a folder itself, for which no file is created. It makes a short change
  /// of several steps safe: read a file, change its content, replace it.
  /// @throws Error if the folder cannot be opened
  static FileLock lock_folder(const std::filesystem::path& folder);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

/// Flushes the folder that holds `path` to the disk, so that a new or renamed file keeps its name
/// if the power fails. A file system that cannot do this is ignored.
void flush_folder_of(const std::filesystem::path& path);

/// Appends one line to a file (a log in JSON lines) and flushes it to the disk. If it cannot be
/// written completely, the file keeps its old content. @throws Error "<path>: cannot write:
/// <reason>"
void append_line(const std::filesystem::path& path, std::string_view line);

/// A file that is mapped into memory, read only, until this object is destroyed. Movable.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Releases the memory of a part of the file. The system reads it from the file again when it is
  /// accessed.
  void drop(std::span<const std::byte> part) const;

  /// Reading a mapped byte that the file no longer has would end the program, so callers check
  /// before they read again. @throws Error if the file was truncated after it was opened
  void check_length() const;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  int descriptor_ = -1;
};

/// A new folder under the system's temporary folder. The destructor removes it with its content.
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

}  // namespace offramp::core
