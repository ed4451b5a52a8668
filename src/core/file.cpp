#include "core/file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace offramp::core {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, std::string_view what, int code) {
  // A NUL in the path would end the message.
  const std::string name = path.string();
  throw Error(fmt::format("{}: {}: {}", name.find('\0') == name.npos ? name : printable(name), what,
                          std::strerror(code)));
}

/// Owns a file descriptor and closes it in the destructor. close() returns whether closing failed,
/// for callers that must report it.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

/// Whether a path has a NUL. The functions of the system would take it only up to there.
bool has_nul(const fs::path& path) { return path.native().find('\0') != std::string::npos; }

int open_retrying(const fs::path& path, int flags, mode_t mode = 0) {
  if (has_nul(path)) {
    errno = EINVAL;
    return -1;
  }
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

/// Writes all bytes. @return false on failure, with the reason in errno
bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

Descriptor open_to_read(const fs::path& path, struct stat& info) {
  // Opening a pipe would wait for a program that writes to it, without O_NONBLOCK.
  const int fd = open_retrying(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) fail(path, "cannot open", errno);
  Descriptor file(fd);
  if (::fstat(fd, &info) != 0) fail(path, "cannot open", errno);
  if (S_ISDIR(info.st_mode)) fail(path, "cannot open", EISDIR);
  if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0)
    fail(path, "cannot open", errno);
  return file;
}

/// Checks that a program writes to a named pipe. A pipe without a name, as of a shell's <(command),
/// has such a program.
void wait_for_writer(const fs::path& path, int fd, const struct stat& info) {
  constexpr int kWaitMs = 2000;
  struct statfs system {};
  if (!S_ISFIFO(info.st_mode) || ::fstatfs(fd, &system) != 0 || system.f_type == PIPEFS_MAGIC)
    return;
  pollfd pipe = {fd, POLLIN, 0};
  int ready = 0;
  do ready = ::poll(&pipe, 1, kWaitMs);
  while (ready < 0 && errno == EINTR);
  if (ready <= 0)
    throw Error(fmt::format("{}: cannot open: a pipe to which no program writes", path.string()));
}

/// Reads the available bytes, at most the size of `dst`. @return their number; 0 at the end
std::size_t read_some(const fs::path& path, int fd, std::span<std::byte> dst) {
  for (;;) {
    const ssize_t got = ::read(fd, dst.data(), dst.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) fail(path, "cannot read", errno);
  }
}

bool lock(int fd) { return ::flock(fd, LOCK_EX | LOCK_NB) == 0; }

/// Whether the open file still has this path: false if another process removed or renamed it.
bool is_still_at(const fs::path& path, int fd) {
  struct stat named {};
  struct stat opened {};
  return ::lstat(path.c_str(), &named) == 0 && ::fstat(fd, &opened) == 0 &&
         named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

void remove_leftovers_once(const fs::path& folder) {
  // A folder is listed only once for many writes to it in a row: listing it for each of n files
  // would take time in proportion to n².
  thread_local fs::path last_folder;
  if (std::exchange(last_folder, folder) != folder) remove_leftovers(folder);
}

/// Follows the symbolic links of `path` to the path that a write replaces, which need not exist.
fs::path resolve_links(const fs::path& path) {
  constexpr int kMaxLinks = 40;  // the limit of the Linux kernel
  std::error_code ignored;
  fs::path target = path;
  for (int links = 0; fs::is_symlink(target, ignored); ++links) {
    if (links == kMaxLinks) fail(path, "cannot write", ELOOP);
    target = target.parent_path() / fs::read_symlink(target, ignored);
  }
  return target;
}

/// The temporary file of an atomic write. The destructor removes it unless it was renamed. It stays
/// locked until then, so that remove_leftovers() in another process does not remove it.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& target) {
    remove_leftovers_once(folder_of(target));
    constexpr int kMaxTries = 10000;
    for (int tries = 1; !create(target); ++tries)
      if (tries == kMaxTries) fail(target, "cannot write", EEXIST);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!renamed_) ::unlink(path_.c_str());
    ::close(fd_);
  }
  int fd() const { return fd_; }
  bool rename_to(const fs::path& target) {
    renamed_ = ::rename(path_.c_str(), target.c_str()) == 0;
    return renamed_;
  }

 private:
  /// @return false if the name is taken, or if remove_leftovers() in another process removed the
  /// file
  ///         after it was created and before it was locked
  bool create(const fs::path& target) {
    static std::atomic<unsigned> counter = 0;
    path_ = target.parent_path() / fmt::format(".offramp-{}-{}.tmp", ::getpid(), counter++);
    fd_ = open_retrying(path_, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd_ < 0 && errno == EEXIST) return false;
    if (fd_ < 0) fail(target, "cannot write", errno);
    // Where the file system has no locks, remove_leftovers() removes nothing, so no lock is needed.
    const bool ours = lock(fd_) || errno != EWOULDBLOCK;
    if (ours && is_still_at(path_, fd_)) return true;
    ::close(fd_);
    return false;
  }

  fs::path path_;
  int fd_ = -1;
  bool renamed_ = false;
};

}  // namespace

void remove_leftovers(const fs::path& folder) {
  std::error_code ignored;
  for (fs::directory_iterator at(folder, ignored), end; at != end; at.increment(ignored)) {
    const fs::path& path = at->path();
    if (!is_temporary(path)) continue;
    const Descriptor file(open_retrying(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    if (file.get() < 0 || !lock(file.get())) continue;
    // The process that wrote it may have renamed it before the lock was taken.
    if (is_still_at(path, file.get())) ::unlink(path.c_str());
  }
}

std::optional<FileLock> FileLock::try_lock(const fs::path& path) {
  FileLock result(open_retrying(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0666));
  if (result.fd_ < 0) fail(path, "cannot open", errno);
  // On a file system without locks every caller gets the lock.
  if (!lock(result.fd_) && errno == EWOULDBLOCK) return std::nullopt;
  return result;
}

FileLock FileLock::lock_folder(const fs::path& folder) {
  FileLock result(open_retrying(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY));
  if (result.fd_ < 0) fail(folder, "cannot open", errno);
  // On a file system without locks every caller gets the lock.
  while (::flock(result.fd_, LOCK_EX) != 0 && errno == EINTR) {
  }
  return result;
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

std::vector<std::byte> read_file(const fs::path& path, std::uint64_t max_bytes) {
  struct stat info {};
  const Descriptor file = open_to_read(path, info);
  wait_for_writer(path, file.get(), info);
  const auto too_large = [&] {
    return Error(fmt::format("{}: larger than the {} bytes allowed", path.string(), max_bytes));
  };
  const auto expected = static_cast<std::uint64_t>(std::max<off_t>(info.st_size, 0));
  if (expected > max_bytes) throw too_large();

  // The size may be wrong: pipes and growing files hold more bytes. Those beyond it, usually none,
  // are read through a small buffer.
  std::vector<std::byte> content(expected);
  std::array<std::byte, 4096> more;
  std::size_t filled = 0;
  for (;;) {
    const bool full = filled == content.size();
    const auto dst = full ? std::span<std::byte>(more) : std::span(content).subspan(filled);
    const std::size_t got = read_some(path, file.get(), dst);
    if (got == 0) break;
    filled += got;
    if (filled > max_bytes) throw too_large();
    if (full) content.insert(content.end(), dst.begin(), dst.begin() + got);
  }
  content.resize(filled);
  return content;
}

std::string read_text(const fs::path& path) {
  const auto content = read_file(path);
  return {reinterpret_cast<const char*>(content.data()), content.size()};
}

bool is_temporary(const fs::path& path) {
  const std::string name = path.filename();
  return name.starts_with(".offramp-") && name.ends_with(".tmp");
}

namespace {

/// Returns the status of the file at the path; nullopt if there is none.
std::optional<struct stat> replaceable(const fs::path& path) {
  if (has_nul(path)) fail(path, "cannot write", EINVAL);
  struct stat old {};
  if (::stat(path.c_str(), &old) != 0) return std::nullopt;
  if (S_ISDIR(old.st_mode)) fail(path, "cannot write", EISDIR);
  if (!S_ISREG(old.st_mode))
    throw Error(fmt::format("{}: cannot write: not a regular file", path.string()));
  return old;
}

}  // namespace

void flush_folder_of(const fs::path& path) {
  // Errors are ignored, because some file systems cannot flush a folder.
  const Descriptor directory(open_retrying(folder_of(path), O_RDONLY | O_DIRECTORY));
  if (directory.get() >= 0) ::fsync(directory.get());
}

void check_writable(const fs::path& path) {
  replaceable(path);
  const TemporaryFile file(resolve_links(path));
}

void write_file_atomic(const fs::path& path, std::span<const std::span<const std::byte>> parts) {
  const auto old = replaceable(path);

  // A symbolic link stays: the file that it points to is replaced.
  const fs::path target = resolve_links(path);
  TemporaryFile file(target);
  if (old) ::fchmod(file.fd(), old->st_mode & 07777);
  for (const auto part : parts)
    if (!write_all(file.fd(), part)) fail(path, "cannot write", errno);
  if (::fsync(file.fd()) != 0) fail(path, "cannot write", errno);
  if (!file.rename_to(target)) fail(path, "cannot write", errno);

  flush_folder_of(target);  // the folder stores the new name
}

void write_text_atomic(const fs::path& path, std::string_view text) {
  const std::array<std::span<const std::byte>, 1> parts = {
      std::as_bytes(std::span(text.data(), text.size()))};
  write_file_atomic(path, parts);
}

void append_line(const fs::path& path, std::string_view line) {
  OFFRAMP_ASSERT(line.find('\n') == std::string_view::npos);
  Descriptor file(open_retrying(path, O_WRONLY | O_CREAT | O_APPEND, 0666));
  if (file.get() < 0) fail(path, "cannot write", errno);
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  const std::string text = std::string(line) + '\n';
  if (!write_all(file.get(), std::as_bytes(std::span(text)))) {
    const int code = errno;
    // An incomplete line is removed, because the next line would be appended to it.
    if (end >= 0 && ::ftruncate(file.get(), end) != 0) fail(path, "cannot write", code);
    fail(path, "cannot write", code);
  }
  // Devices and pipes cannot be flushed.
  if (::fsync(file.get()) != 0 && errno != EINVAL && errno != EROFS)
    fail(path, "cannot write", errno);
  if (file.close() != 0) fail(path, "cannot write", errno);
  if (end == 0) flush_folder_of(path);  // the file may be new
}

MappedFile::MappedFile(const fs::path& path) {
  struct stat info {};
  const Descriptor file = open_to_read(path, info);
  if (!S_ISREG(info.st_mode))
    throw Error(fmt::format("{}: cannot open: not a regular file", path.string()));
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;  // mmap fails for an empty range
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail(path, "cannot open", errno);
  data_ = static_cast<const std::byte*>(data);
  descriptor_ = ::fcntl(file.get(), F_DUPFD_CLOEXEC, 0);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void MappedFile::check_length() const {
  struct stat info {};
  // Without a descriptor (the process had none left) the length is not known and not checked.
  if (descriptor_ < 0 || ::fstat(descriptor_, &info) != 0) return;
  if (static_cast<std::size_t>(info.st_size) < size_)
    throw Error("the file was truncated after it was opened");
}

void MappedFile::drop(std::span<const std::byte> part) const {
  if (part.empty()) return;
  OFFRAMP_ASSERT(part.data() >= data_ && part.data() + part.size() <= data_ + size_);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = static_cast<std::size_t>(part.data() - data_) / page * page;
  const auto end = static_cast<std::size_t>(part.data() - data_) + part.size();
  // Errors are ignored: this only saves memory. Pages that also hold other data are read again from
  // the file when they are needed.
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "offramp-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) fail(name, "cannot create a temporary folder", errno);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace offramp::core
