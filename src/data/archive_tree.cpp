#include <archive_entry.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <thread>

#include "core/error.h"
#include "core/parallel.h"
#include "data/file_tree.h"
#include "data/libarchive.h"

namespace offramp::data::detail {
namespace {

/// Returns the path without "." components.
/// @throws Error if the path is absolute, contains ".." or is too long
std::string safe_path(std::string_view path) {
  constexpr std::size_t kMaxPathBytes = 4096;
  if (path.size() > kMaxPathBytes) {
    throw Error(fmt::format("entry {}: a path of {} bytes, more than the {} allowed",
                            core::quote(path), path.size(), kMaxPathBytes));
  }
  if (path.starts_with('/'))
    throw Error(fmt::format("entry {}: an absolute path", core::quote(path)));
  std::string result;
  for (std::string_view rest = path; !rest.empty();) {
    const std::string_view component = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), component.size() + 1));
    if (component.empty() || component == ".") continue;
    if (component == "..") {
      throw Error(fmt::format("entry {}: the path leads outside the archive with \"..\"",
                              core::quote(path)));
    }
    if (!result.empty()) result += '/';
    result += component;
  }
  return result;
}

/// Reads an archive once, entry by entry, and enforces the limits.
class ArchiveReader {
 public:
  ArchiveReader(const std::filesystem::path& path, const ArchiveLimits& limits)
      : limits_(limits), archive_(archive_read_new()) {
    if (archive_ == nullptr) throw Error("the archive library cannot start");
    // Filters are enabled one by one, because "all" would include filters that start other
    // programs.
    archive_read_support_filter_gzip(archive_.get());
    archive_read_support_filter_bzip2(archive_.get());
    archive_read_support_filter_xz(archive_.get());
    archive_read_support_format_tar(archive_.get());
    // A zip is read by its directory only. Without one, as in a zip inside a gzip file, libarchive
    // would decompress entries to find the next one, and those bytes would count for no limit.
    archive_read_support_format_zip_seekable(archive_.get());
    constexpr std::size_t kBlockBytes = 1 << 18;
    if (archive_read_open_filename(archive_.get(), path.c_str(), kBlockBytes) != ARCHIVE_OK) {
      throw Error(fmt::format("not a .tar, .tar.gz, .tar.xz or .zip archive: {}",
                              last_error(archive_.get())));
    }
  }

  /// Reads the header of the next entry. @return false at the end of the archive
  bool next() {
    const int status = archive_read_next_header(archive_.get(), &entry_);
    if (status == ARCHIVE_EOF) return false;
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
      if (entries_ == 0)
        throw Error(fmt::format("not a .tar, .tar.gz, .tar.xz or .zip archive: {}",
                                last_error(archive_.get())));
      throw Error(fmt::format("the archive is damaged after {} entries: {}", entries_,
                              last_error(archive_.get())));
    }
    if (++entries_ > limits_.max_entries) {
      throw Error(fmt::format("the archive has more than {} entries", limits_.max_entries));
    }
    if (archive_entry_is_encrypted(entry_) != 0) throw Error("the archive is encrypted");
    count(0);
    return true;
  }

  Member member() {
    const char* path = archive_entry_pathname_utf8(entry_);
    if (path == nullptr) path = archive_entry_pathname(entry_);
    if (path == nullptr) throw Error(fmt::format("entry {} has no readable name", entries_));
    Member member;
    member.path = safe_path(path);
    name_bytes_ += member.path.size();
    if (name_bytes_ > limits_.max_name_bytes)
      throw Error(
          fmt::format("the names in the archive have more than {} bytes", limits_.max_name_bytes));
    const auto type = archive_entry_filetype(entry_);
    member.is_folder = type == AE_IFDIR;
    if (archive_entry_hardlink(entry_) != nullptr || type == AE_IFLNK) {
      member.problem = "a link inside the archive";
    } else if (type != AE_IFREG && type != AE_IFDIR) {
      member.problem = "not a file";
    }
    if (archive_entry_size_is_set(entry_) != 0 && archive_entry_size(entry_) > 0) {
      member.bytes = static_cast<std::uint64_t>(archive_entry_size(entry_));
    }
    if (member.problem.empty() && member.bytes > limits_.max_entry_bytes) {
      member.problem =
          fmt::format("{} bytes, more than the {} allowed", member.bytes, limits_.max_entry_bytes);
    }
    return member;
  }

  /// Skips the content of the current entry. Decompressed bytes count towards the limits.
  void skip() {
    if (is_zip()) return;  // libarchive finds the next header without decompressing this entry
    for_each_block([](std::span<const std::byte>) { return true; });
  }

  Content content() {
    Content content;
    const std::uint64_t limit = limits_.max_entry_bytes;
    for_each_block([&](std::span<const std::byte> block) {
      if (block.size() > limit - content.bytes.size()) {
        content.problem = fmt::format("decompresses to more than the {} bytes allowed", limit);
        return false;
      }
      content.bytes.insert(content.bytes.end(), block.begin(), block.end());
      return true;
    });
    if (!damage_.empty()) content.problem = damage_;
    return content;
  }

 private:
  bool is_zip() const {
    return (archive_format(archive_.get()) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_ZIP;
  }

  template <typename Take>
  void for_each_block(Take use_block) {
    damage_.clear();
    const void* data = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    la_int64_t expected = 0;
    while (true) {
      const int status = archive_read_data_block(archive_.get(), &data, &size, &offset);
      if (status == ARCHIVE_EOF) return;
      if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
        // The entries of a zip are compressed separately, so the others can still be read. After
        // damage in a compressed tar nothing more can be read.
        if (!is_zip())
          throw Error(fmt::format("the archive is damaged: {}", last_error(archive_.get())));
        damage_ = fmt::format("damaged inside the archive: {}", last_error(archive_.get()));
        return;
      }
      if (offset != expected) {
        damage_ = "a sparse file inside the archive";
        return;
      }
      expected += static_cast<la_int64_t>(size);
      count(size);
      if (!use_block(std::span(static_cast<const std::byte*>(data), size))) return;
    }
  }

  void count(std::uint64_t bytes) {
    decompressed_bytes_ += bytes;
    const auto stream = static_cast<std::uint64_t>(
        std::max<la_int64_t>(0, archive_filter_bytes(archive_.get(), 0)));
    const auto file = static_cast<std::uint64_t>(
        std::max<la_int64_t>(1, archive_filter_bytes(archive_.get(), -1)));
    const std::uint64_t total =
        is_zip() ? decompressed_bytes_ : std::max(stream, decompressed_bytes_);
    if (total > limits_.max_total_bytes) {
      throw Error(
          fmt::format("the archive decompresses to more than {} bytes", limits_.max_total_bytes));
    }
    if (total > limits_.ratio_from_bytes && total / file > limits_.max_ratio) {
      throw Error(fmt::format(
          "the archive decompresses to more than {} times its size: refused as a decompression "
          "bomb",
          limits_.max_ratio));
    }
  }

  ArchiveLimits limits_;
  OpenArchive archive_;
  archive_entry* entry_ = nullptr;
  std::uint64_t entries_ = 0;
  std::uint64_t decompressed_bytes_ = 0;
  std::uint64_t name_bytes_ = 0;
  std::string damage_;
};

/// Passes the files that one thread reads to several worker threads. The queue is short, so that
/// the whole archive is never in memory.
class WorkQueue {
 public:
  explicit WorkQueue(const FileTree::ContentCallback& callback) : callback_(callback) {
    threads_.start(
        std::clamp(core::usable_cores(), 2, 64), [this](int) { work(); }, [this] { stop(); });
  }
  ~WorkQueue() { close(); }

  /// Adds a file to the queue, and waits while the queue is full.
  /// @return false if a worker has failed
  bool push(std::size_t index, Content content) {
    constexpr std::size_t kLength = 64;
    constexpr std::size_t kBytes = std::size_t{1} << 26;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return failure_ != nullptr || queue_.empty() || (queue_.size() < kLength && bytes_ < kBytes);
    });
    if (failure_ != nullptr) return false;
    bytes_ += content.bytes.size();
    queue_.emplace_back(index, std::move(content));
    changed_.notify_all();
    return true;
  }

  /// Waits until all files are processed. Rethrows the first exception of a worker.
  void finish() {
    close();
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

 private:
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
  }

  void close() {
    stop();
    threads_.join();
  }

  void work() {
    while (true) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return closed_ || failure_ != nullptr || !queue_.empty(); });
      if (failure_ != nullptr || queue_.empty()) return;
      auto [index, content] = std::move(queue_.front());
      queue_.pop_front();
      bytes_ -= content.bytes.size();
      lock.unlock();
      changed_.notify_all();
      try {
        callback_(index, std::move(content));
      } catch (...) {
        lock.lock();
        if (failure_ == nullptr) failure_ = std::current_exception();
        lock.unlock();
        changed_.notify_all();
      }
    }
  }

  const FileTree::ContentCallback& callback_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<std::size_t, Content>> queue_;
  std::size_t bytes_ = 0;
  bool closed_ = false;
  std::exception_ptr failure_;
  core::Threads threads_;
};

class ArchiveTree : public FileTree {
 public:
  ArchiveTree(const std::filesystem::path& path, const ArchiveLimits& limits)
      : path_(path), limits_(limits) {
    std::vector<std::pair<Member, std::size_t>> found;
    ArchiveReader reader(path_, limits_);
    for (std::size_t ordinal = 0; reader.next(); ++ordinal) {
      Member member = reader.member();
      reader.skip();
      if (!member.path.empty()) found.emplace_back(std::move(member), ordinal);
    }
    // If several entries have the same path, the last one is used, as when a tar is unpacked.
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
      return a.first.path != b.first.path ? a.first.path < b.first.path : a.second > b.second;
    });
    for (auto& [member, ordinal] : found) {
      if (!members_.empty() && members_.back().path == member.path) continue;
      members_.push_back(std::move(member));
      ordinals_.push_back(ordinal);
    }
  }

  void read(const std::vector<std::size_t>& wanted,
            const ContentCallback& callback) const override {
    std::vector<std::pair<std::size_t, std::size_t>> order;  // entry number, index in `wanted`
    for (std::size_t i = 0; i < wanted.size(); ++i) order.emplace_back(ordinals_[wanted[i]], i);
    std::sort(order.begin(), order.end());
    WorkQueue queue(callback);
    ArchiveReader reader(path_, limits_);
    std::size_t ordinal = 0;
    for (const auto& [place, index] : order) {
      const Member& member = members_[wanted[index]];
      bool has_entry = reader.next();
      for (; has_entry && ordinal < place; ++ordinal) {
        reader.skip();
        has_entry = reader.next();
      }
      ++ordinal;
      if (!has_entry || reader.member().path != member.path) {
        throw Error("the archive changed while it was read");
      }
      Content content;
      content.problem = member.problem;
      if (member.problem.empty()) {
        content = reader.content();
      } else {
        reader.skip();
      }
      if (!queue.push(index, std::move(content))) break;
    }
    queue.finish();
  }

 private:
  std::filesystem::path path_;
  ArchiveLimits limits_;
  std::vector<std::size_t> ordinals_;  // [members] entry number of each in the archive, from 0
};

}  // namespace

std::unique_ptr<FileTree> open_archive(const std::filesystem::path& path,
                                       const ArchiveLimits& limits) {
  return std::make_unique<ArchiveTree>(path, limits);
}

}  // namespace offramp::data::detail
