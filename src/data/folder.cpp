#include <sys/stat.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "data/file_tree.h"
#include "data/parallel.h"

namespace offramp::detail {
namespace {

namespace fs = std::filesystem;

class FolderTree : public FileTree {
 public:
  explicit FolderTree(const fs::path& root) : root_(root) {
    list(root, "");
    std::sort(members_.begin(), members_.end(),
              [](const Member& a, const Member& b) { return a.path < b.path; });
  }

  void read(const std::vector<std::size_t>& wanted, const Use& use) const override {
    parallel_for(wanted.size(), [&](std::size_t i) {
      const Member& member = members_[wanted[i]];
      Content content;
      content.problem = member.problem;
      if (member.problem.empty()) {
        try {
          content.bytes = read_file(root_ / member.path, kMaxImageBytes);
        } catch (const Error& error) {
          content.problem = error.what();
        }
      }
      use(i, std::move(content));
    });
  }

 private:
  void list(const fs::path& folder, const std::string& prefix) {
    constexpr std::size_t kMaxDepth = 64;
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0) throw Error("{}: cannot open", folder.string());
    const auto identity = std::pair(status.st_dev, status.st_ino);
    // A link to a folder around it would never end.
    if (std::find(open_.begin(), open_.end(), identity) != open_.end()) return;
    if (open_.size() == kMaxDepth) throw Error("{}: folders nest too deeply", prefix);
    open_.push_back(identity);
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    if (error) throw Error("{}: cannot list: {}", folder.string(), error.message());
    for (; entries != fs::directory_iterator(); entries.increment(error)) {
      const fs::directory_entry& entry = *entries;
      Member member;
      member.path = prefix + entry.path().filename().string();
      std::error_code unreadable;
      const fs::file_status kind = entry.status(unreadable);
      if (fs::is_directory(kind)) {
        member.is_folder = true;
        members_.push_back(member);
        list(entry.path(), member.path + "/");
        continue;
      }
      if (fs::is_regular_file(kind)) {
        member.bytes = entry.file_size(unreadable);
      } else {
        member.problem = entry.is_symlink(unreadable) ? "a link that leads nowhere" : "not a file";
      }
      members_.push_back(std::move(member));
    }
    if (error) throw Error("{}: cannot list: {}", folder.string(), error.message());
    open_.pop_back();
  }

  fs::path root_;
  std::vector<std::pair<dev_t, ino_t>> open_;  // the folders being listed, outermost first
};

}  // namespace

std::unique_ptr<FileTree> open_folder(const fs::path& path) {
  return std::make_unique<FolderTree>(path);
}

}  // namespace offramp::detail
