#include "core/system.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "core/file.h"

namespace offramp::core {
namespace {

namespace fs = std::filesystem;

class UsableMemory : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) const {
    const fs::path file = folder_.path() / path;
    fs::create_directories(file.parent_path());
    write_text_atomic(file, text);
  }
  std::uint64_t usable() const { return usable_memory(folder_.path()); }

  TemporaryFolder folder_;
};

TEST_F(UsableMemory, IsTheMachinesWithoutAGroup) {
  const std::uint64_t machine = usable();
  EXPECT_GT(machine, std::uint64_t{1} << 20);
  write("proc/self/cgroup", "0::/a\n");
  write("sys/fs/cgroup/a/memory.max", "max\n");
  EXPECT_EQ(usable(), machine);
  EXPECT_LE(usable_memory(), machine);
}

TEST_F(UsableMemory, IsTheLowestLimitOfTheGroupAndThoseAroundIt) {
  write("proc/self/cgroup", "0::/a/b\n");
  write("sys/fs/cgroup/a/b/memory.max", "3000000\n");
  write("sys/fs/cgroup/a/memory.max", "2000000\n");
  EXPECT_EQ(usable(), 2'000'000u);
  write("sys/fs/cgroup/a/memory.max", "max\n");
  EXPECT_EQ(usable(), 3'000'000u);
}

TEST_F(UsableMemory, IsFoundWhereAContainersGroupIsTheRoot) {
  write("proc/self/cgroup", "0::/not/mounted/here\n");
  write("sys/fs/cgroup/memory.max", "1500000\n");
  EXPECT_EQ(usable(), 1'500'000u);
}

TEST_F(UsableMemory, ReadsCgroupsOfVersion1) {
  write("proc/self/cgroup", "12:cpu,cpuacct:/c\n4:memory:/m\n0::/\n");
  write("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1000000\n");
  write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "5000\n");
  EXPECT_EQ(usable(), 1'000'000u);
}

TEST_F(UsableMemory, IgnoresWhatItCannotRead) {
  const std::uint64_t machine = usable();
  write("proc/self/cgroup", "no colon\n1:\n0::/a\n");
  write("sys/fs/cgroup/a/memory.max", "lots\n");
  EXPECT_EQ(usable(), machine);
}

}  // namespace
}  // namespace offramp::core
