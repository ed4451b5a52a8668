#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <new>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "data/file_tree.h"
#include "image/image.h"

namespace offramp::data::detail {
namespace {

namespace fs = std::filesystem;

class FolderTree : public FileTree {
 public:
  explicit FolderTree(const fs::path& root) : root_(root) {
    const std::string problem = list(root, "");
    if (!problem.empty()) throw Error(fmt::format("{}: {}", root.string(), problem));
    std::sort(members_.begin(), members_.end(),
              [](const Member& a, const Member& b) { return a.path < b.path; });
  }

  void read(const std::vector<std::size_t>& wanted,
            const ContentCallback& callback) const override {
    core::parallel_for(wanted.size(), [&](std::size_t i) {
      const Member& member = members_[wanted[i]];
      Content content;
      content.problem = member.problem;
      if (member.problem.empty()) read_member(root_ / member.path, content);
      callback(i, std::move(content));
    });
  }

 private:
  static void read_member(const fs::path& path, Content& content) {
    try {
      content.bytes = core::read_file(path, image::kMaxImageBytes);
    } catch (const Error& error) {
      // The caller knows the path and adds it.
      const std::string place = path.string() + ": ";
      const std::string_view text = error.what();
      content.problem = text.substr(text.starts_with(place) ? place.size() : 0);
    } catch (const std::bad_alloc&) {
      content.problem = "out of memory";
    }
  }

  /// Adds the content of a folder to the members.
  /// @return why the folder cannot be listed completely; empty if it can
  std::string list(const fs::path& folder, const std::string& prefix) {
    constexpr std::size_t kMaxDepth = 64;
    constexpr int kMaxPaths = 16;
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0) {
      return fmt::format("cannot open: {}", std::strerror(errno));
    }
    const auto identity = std::pair(status.st_dev, status.st_ino);
    // A link to a folder that contains the link would be followed for ever.
    if (std::find(open_.begin(), open_.end(), identity) != open_.end()) return {};
    if (open_.size() == kMaxDepth) return "folders are nested too deeply";
    // Folders with links to each other have a number of paths that grows exponentially with theirs.
    if (++listed_[identity] > kMaxPaths)
      return fmt::format("links lead to this folder on more than {} paths", kMaxPaths);
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    if (error) return fmt::format("cannot list: {}", error.message());
    open_.push_back(identity);
    for (; entries != fs::directory_iterator(); entries.increment(error)) add(*entries, prefix);
    open_.pop_back();
    return error ? fmt::format("cannot list: {}", error.message()) : std::string();
  }

  void add(const fs::directory_entry& entry, const std::string& prefix) {
    const std::string name = entry.path().filename().string();
    Member member;
    member.path = prefix + name;
    std::error_code unreadable;
    const fs::file_status kind = entry.status(unreadable);
    if (fs::is_directory(kind)) {
      // Hidden folders are not listed: their content is never used, and often only root may list
      // them.
      if (name.starts_with('.')) return;
      member.is_folder = true;
      member.problem = list(entry.path(), member.path + "/");
    } else if (fs::is_regular_file(kind)) {
      member.bytes = entry.file_size(unreadable);
    } else {
      member.problem = entry.is_symlink(unreadable) ? "a broken link" : "not a file";
    }
    members_.push_back(std::move(member));
  }

  fs::path root_;
  std::vector<std::pair<dev_t, ino_t>> open_;      // the folders being listed, outermost first
  std::map<std::pair<dev_t, ino_t>, int> listed_;  // how often each folder was listed
};

}  // namespace

std::unique_ptr<FileTree> open_folder(const fs::path& path) {
  return std::make_unique<FolderTree>(path);
}

}  // namespace offramp::data::detail
