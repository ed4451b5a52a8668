#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

// One interface to the files of folders and archives. Internal to src/data.
namespace offramp::data::detail {

/// A file or folder below the root of a tree.
struct Member {
  std::string path;  ///< relative to the root: "train/cat/0001.jpg"
  bool is_folder = false;
  std::uint64_t bytes = 0;  ///< size of the file; 0 if the archive does not give it
  std::string problem;      ///< why the member cannot be read; empty if it can
};

/// The bytes of a file, or the reason why it could not be read.
struct Content {
  std::vector<std::byte> bytes;
  std::string problem;
};

/// The files below a folder or in an archive.
class FileTree {
 public:
  virtual ~FileTree() = default;

  /// All members, sorted by path, without duplicates.
  const std::vector<Member>& members() const { return members_; }

  /// Receives the content of one file; `index` is its index in `wanted`.
  using ContentCallback = std::function<void(std::size_t index, Content content)>;
  /// Reads files and calls `use` for each, from several threads and in any order. An exception from
  /// `use` ends the reading and is rethrown.
  /// @param wanted  indices into members()
  virtual void read(const std::vector<std::size_t>& wanted,
                    const ContentCallback& callback) const = 0;

 protected:
  std::vector<Member> members_;
};

/// Limits on the decompressed size of an archive. An archive of a few kilobytes can decompress to
/// petabytes.
struct ArchiveLimits {
  std::uint64_t max_entry_bytes = std::uint64_t{1} << 28;
  std::uint64_t max_total_bytes = std::uint64_t{1} << 40;
  std::uint64_t max_entries = std::uint64_t{1} << 24;
  /// Limit on the total length of all paths, which are kept in memory.
  std::uint64_t max_name_bytes = std::uint64_t{1} << 28;
  /// Largest ratio of decompressed bytes to bytes read from the file. It is checked only when more
  /// than `ratio_from_bytes` have been decompressed, because a small archive of blank images may
  /// have a high ratio and is harmless.
  std::uint64_t max_ratio = 200;
  std::uint64_t ratio_from_bytes = std::uint64_t{1} << 28;
};

/// Lists a folder and its subfolders, without hidden ones. A subfolder that cannot be listed has a
/// `problem`. Symbolic links are followed, except a link to a folder that contains the link; a
/// folder that they reach on more than 16 paths is listed for 16 of them.
/// @throws Error "<path>: <reason>" if the folder itself cannot be listed
std::unique_ptr<FileTree> open_folder(const std::filesystem::path& path);

/// Lists the members of a .tar (plain, gzip, bzip2, xz) or .zip by reading the archive once; read()
/// reads it again. Nothing is unpacked to disk.
/// @throws Error, without the path of the archive, if the file is not an archive, is damaged or
/// encrypted, has an entry whose path leads outside the archive, or exceeds a limit
std::unique_ptr<FileTree> open_archive(const std::filesystem::path& path,
                                       const ArchiveLimits& limits = {});

}  // namespace offramp::data::detail
