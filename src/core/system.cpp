#include "core/system.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>

#include "core/numbers.h"

namespace offramp::core {
namespace {

namespace fs = std::filesystem;

/// Returns the number in a file; nullopt if there is none, as for "max".
std::optional<std::uint64_t> number_in(const fs::path& path) {
  std::ifstream file(path);
  std::string word;
  if (!(file >> word)) return std::nullopt;
  return parse_number<std::uint64_t>(word);
}

/// Calls use(controllers, path) for each line "0::/a/b" or "4:memory:/a/b" of /proc/self/cgroup.
template <typename Use>
void for_each_group(const fs::path& root, const Use& use) {
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    use(line.substr(first + 1, second - first - 1), fs::path(line.substr(second + 1)));
  }
}

}  // namespace

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name"))
      if (const auto colon = line.find(": "); colon != std::string::npos)
        return line.substr(colon + 2);
  return "not known";
}

std::uint64_t usable_memory(const fs::path& root) {
  std::uint64_t least = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  for_each_group(root, [&](const std::string& controllers, const fs::path& group) {
    // A hierarchy of version 2 has no controllers in its line, one of version 1 has "memory".
    const bool second = controllers.empty();
    if (!second && ("," + controllers + ",").find(",memory,") == std::string::npos) return;
    const fs::path mount = root / (second ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
    const char* name = second ? "memory.max" : "memory.limit_in_bytes";
    // In a container the group's own folder may be mounted as the root of the hierarchy.
    for (fs::path at = group.relative_path();; at = at.parent_path()) {
      if (const auto limit = number_in(mount / at / name)) least = std::min(least, *limit);
      if (at.empty()) break;
    }
  });
  return least;
}

}  // namespace offramp::core
