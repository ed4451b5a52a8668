#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

// Folders and archives seen alike; not part of the folder's interface.
namespace offramp::detail {

/// A file or folder, by its path below the root: "train/cat/0001.jpg".
struct Member {
  std::string path;
  bool is_folder = false;
  std::uint64_t bytes = 0;  ///< 0 if the archive does not say
  std::string problem;      ///< why it cannot be read (a link, say); empty if it can
};

/// What a file holds, or why it could not be read.
struct Content {
  std::vector<std::byte> bytes;
  std::string problem;
};

/// Files below a root.
class FileTree {
 public:
  virtual ~FileTree() = default;

  /// In the order of their paths, each once.
  const std::vector<Member>& members() const { return members_; }

  /// Takes one of the wanted files: its index in `wanted`, and what it holds.
  using Use = std::function<void(std::size_t index, Content content)>;
  /// Reads files, given by their index in members(), and hands each to `use`, from several threads
  /// and in any order. An exception of `use` ends the reading and is thrown again.
  virtual void read(const std::vector<std::size_t>& wanted, const Use& use) const = 0;

 protected:
  std::vector<Member> members_;
};

/// Bounds on what an archive may unfold to: a few kilobytes can claim petabytes.
struct ArchiveLimits {
  std::uint64_t max_entry_bytes = std::uint64_t{1} << 28;
  std::uint64_t max_total_bytes = std::uint64_t{1} << 40;
  std::uint64_t max_entries = std::uint64_t{1} << 24;
  /// Largest unfolded size as a multiple of what was read of the file. Looked at from
  /// `ratio_from_bytes` on: short archives of blank pictures are no attack.
  std::uint64_t max_ratio = 200;
  std::uint64_t ratio_from_bytes = std::uint64_t{1} << 28;
};

/// Lists a folder with its subfolders, hidden ones left out; one that cannot be listed has a
/// `problem`. Links are followed, except to a folder that the link
/// itself lies in.
std::unique_ptr<FileTree> open_folder(const std::filesystem::path& path);

/// Lists a .tar (plain, gzip, bzip2, xz) or .zip by reading it once; read() reads it again. Nothing
/// is unpacked to disk. @throws Error without the path: "not an archive", "encrypted", a path that
/// leaves the archive, a limit
std::unique_ptr<FileTree> open_archive(const std::filesystem::path& path,
                                       const ArchiveLimits& limits = {});

}  // namespace offramp::detail
