#include "core/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <future>
#include <thread>

#include "core/error.h"
#include "tests/support/full_disk.h"

namespace {
std::atomic<int> num_flushed = 0;
}

/// Takes the place of the C library's function, to count its calls.
extern "C" int fsync(int fd) {
  ++num_flushed;
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace offramp::core {
namespace {

namespace fs = std::filesystem;
using ::testing::ThrowsMessage;

std::size_t files_in(const fs::path& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(WriteFileAtomic, JoinsItsPartsAndReplacesTheOldContent) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a";
  write_text_atomic(path, "old and longer");
  const std::string one = "one", two = "two";
  const std::array<std::span<const std::byte>, 3> parts = {
      std::as_bytes(std::span(one)), {}, std::as_bytes(std::span(two))};
  write_file_atomic(path, parts);
  EXPECT_EQ(read_text(path), "onetwo");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(WriteFileAtomic, WritesAnEmptyFile) {
  const TemporaryFolder folder;
  write_text_atomic(folder.path() / "a", "");
  EXPECT_EQ(read_text(folder.path() / "a"), "");
}

TEST(WriteFileAtomic, KeepsTheModeOfTheFileItReplaces) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a";
  write_text_atomic(path, "x");
  fs::permissions(path, fs::perms{0640});
  write_text_atomic(path, "y");
  EXPECT_EQ(fs::status(path).permissions(), fs::perms{0640});
}

TEST(WriteFileAtomic, WritesThroughALink) {
  const TemporaryFolder folder;
  write_text_atomic(folder.path() / "file", "old");
  fs::create_symlink("file", folder.path() / "link");
  write_text_atomic(folder.path() / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder.path() / "link"));
  EXPECT_EQ(read_text(folder.path() / "file"), "new");
}

TEST(WriteFileAtomic, WritesThroughALinkToAFileThatIsNotThereYet) {
  const TemporaryFolder folder, other;
  const fs::path link = folder.path() / "link", behind = folder.path() / "behind";
  fs::create_directory(folder.path() / "below");
  fs::create_symlink("behind", link);
  for (const fs::path& file : {fs::path("below/file"), other.path() / "file"}) {
    fs::remove(behind);
    fs::create_symlink(file, behind);
    write_text_atomic(link, "new");
    EXPECT_TRUE(fs::is_symlink(link)) << file;
    EXPECT_TRUE(fs::is_symlink(behind)) << file;
    EXPECT_EQ(read_text(folder.path() / file), "new");
  }
}

TEST(WriteFileAtomic, RefusesALinkToItself) {
  const TemporaryFolder folder;
  const fs::path link = folder.path() / "link";
  fs::create_symlink("link", link);
  EXPECT_THAT(
      [&] { write_text_atomic(link, "x"); },
      ThrowsMessage<Error>(link.string() + ": cannot write: Too many levels of symbolic links"));
  EXPECT_TRUE(fs::is_symlink(link));
}

TEST(WriteFileAtomic, ReplacesNeitherDevicesNorFolders) {
  const TemporaryFolder folder;
  const fs::path pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT([&] { write_text_atomic(pipe, "x"); },
              ThrowsMessage<Error>(pipe.string() + ": cannot write: not a regular file"));
  EXPECT_THAT([&] { write_text_atomic(folder.path(), "x"); },
              ThrowsMessage<Error>(folder.path().string() + ": cannot write: Is a directory"));
}

TEST(WriteFileAtomic, SaysWhyItCannotWrite) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "missing" / "a";
  EXPECT_THAT([&] { write_text_atomic(path, "x"); },
              ThrowsMessage<Error>(path.string() + ": cannot write: No such file or directory"));
}

TEST(CheckWritable, GivesTheErrorOfWritingAndLeavesNoFile) {
  const TemporaryFolder folder;
  check_writable(folder.path() / "new");
  EXPECT_TRUE(fs::is_empty(folder.path()));
  write_text_atomic(folder.path() / "old", "old");
  check_writable(folder.path() / "old");
  EXPECT_EQ(read_text(folder.path() / "old"), "old");
  EXPECT_THAT([&] { check_writable(folder.path()); },
              ThrowsMessage<Error>(folder.path().string() + ": cannot write: Is a directory"));
  const fs::path path = folder.path() / "missing" / "a";
  EXPECT_THAT([&] { check_writable(path); },
              ThrowsMessage<Error>(path.string() + ": cannot write: No such file or directory"));
}

TEST(WriteFileAtomic, RemovesTheTemporaryFilesOfKilledProcesses) {
  const TemporaryFolder folder;
  for (int i = 0; i < 3; ++i)
    std::ofstream(folder.path() / fmt::format(".offramp-123-{}.tmp", i)) << "half";
  std::ofstream(folder.path() / ".offramp-notes") << "kept";
  ASSERT_EQ(::mkfifo((folder.path() / ".offramp-pipe.tmp").c_str(), 0600), 0);
  write_text_atomic(folder.path() / "a", "whole");
  EXPECT_EQ(read_text(folder.path() / "a"), "whole");
  EXPECT_EQ(files_in(folder.path()), 2u);
}

TEST(WriteFileAtomic, WritesBesideTheTemporaryFilesOfOthers) {
  const TemporaryFolder folder;
  std::vector<int> writers;
  // These are the names that the next writes of this process would use.
  for (int i = 0; i < 300; ++i) {
    const fs::path path = folder.path() / fmt::format(".offramp-{}-{}.tmp", ::getpid(), i);
    writers.push_back(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::flock(writers.back(), LOCK_EX), 0);
  }
  write_text_atomic(folder.path() / "a", "whole");
  EXPECT_EQ(read_text(folder.path() / "a"), "whole");
  EXPECT_EQ(files_in(folder.path()), 301u);
  for (const int writer : writers) ::close(writer);
}

TEST(WriteFileAtomic, RemovesNothingThatAnotherThreadIsWriting) {
  const TemporaryFolder one, other;
  std::vector<std::future<void>> writers;
  for (int t = 0; t < 4; ++t) {
    writers.push_back(std::async(std::launch::async, [&, t] {
      // Leftovers are removed whenever a write goes to another folder than the write before it.
      for (int i = 0; i < 25; ++i)
        for (const TemporaryFolder* folder : {&one, &other})
          write_text_atomic(folder->path() / fmt::format("{}-{}", t, i), std::string(10000, 'x'));
    }));
  }
  for (auto& writer : writers) EXPECT_NO_THROW(writer.get());
  EXPECT_EQ(files_in(one.path()), 100u);
  EXPECT_EQ(files_in(other.path()), 100u);
}

TEST(WriteFileAtomicDeathTest, KeepsTheOldContentWhenTheDiskFillsUp) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "model.safetensors";
  write_text_atomic(path, "old content");
  EXPECT_EXIT(test::with_full_disk([&] { write_text_atomic(path, std::string(100'000, 'x')); }),
              ::testing::ExitedWithCode(1), "model.safetensors: cannot write: File too large");
  EXPECT_EQ(read_text(path), "old content");
  EXPECT_EQ(files_in(folder.path()), 1u) << "the temporary file was left behind";
}

TEST(AppendLineDeathTest, LeavesNoHalfLineWhenTheDiskFillsUp) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  append_line(path, "first");
  EXPECT_EXIT(test::with_full_disk([&] { append_line(path, std::string(100'000, 'x')); }),
              ::testing::ExitedWithCode(1), "metrics.jsonl: cannot write: File too large");
  append_line(path, "second");
  EXPECT_EQ(read_text(path), "first\nsecond\n");
}

TEST(AppendLine, SaysWhyItCannotWrite) {
  EXPECT_THAT([] { append_line("/dev/full", "x"); },
              ThrowsMessage<Error>("/dev/full: cannot write: No space left on device"));
}

TEST(ReadFile, SaysWhyItCannotRead) {
  const TemporaryFolder folder;
  const std::string missing = (folder.path() / "missing").string();
  EXPECT_THAT([&] { read_file(missing); },
              ThrowsMessage<Error>(missing + ": cannot open: No such file or directory"));
  EXPECT_THAT([&] { read_file(folder.path()); },
              ThrowsMessage<Error>(folder.path().string() + ": cannot open: Is a directory"));
  EXPECT_THAT([&] { MappedFile file(missing); },
              ThrowsMessage<Error>(missing + ": cannot open: No such file or directory"));
}

TEST(ReadFile, RefusesMoreThanItIsAllowed) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a";
  write_text_atomic(path, "12345");
  EXPECT_EQ(read_file(path, 5).size(), 5u);
  EXPECT_THAT([&] { read_file(path, 4); },
              ThrowsMessage<Error>(path.string() + ": larger than the 4 bytes allowed"));
}

TEST(ReadFile, TakesNoMoreMemoryThanTheFileHas) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a";
  write_text_atomic(path, std::string(100'000, 'x'));
  EXPECT_EQ(read_file(path).capacity(), 100'000u);
}

TEST(ReadFile, ReadsFilesWithoutAKnownSize) {
  const TemporaryFolder folder;
  const fs::path pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string content(200'000, 'x');
  std::thread writer([&] { std::ofstream(pipe) << content; });
  EXPECT_EQ(read_text(pipe), content);
  writer.join();
}

TEST(ReadFile, DoesNotWaitForEverForAPipe) {
  const TemporaryFolder folder;
  const fs::path pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(
      [&] { read_file(pipe); },
      ThrowsMessage<Error>(pipe.string() + ": cannot open: a pipe to which no program writes"));
  EXPECT_THAT([&] { MappedFile{pipe}; },
              ThrowsMessage<Error>(pipe.string() + ": cannot open: not a regular file"));
}

TEST(ReadFile, RefusesAPathWithANul) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a";
  write_text_atomic(path, "x");
  EXPECT_THROW(read_file(path.string() + std::string("\0b", 2)), Error);
  EXPECT_THROW(MappedFile{path.string() + std::string("\0b", 2)}, Error);
  EXPECT_THROW(write_text_atomic(path.string() + std::string("\0b", 2), "y"), Error);
  EXPECT_EQ(read_text(path), "x");
}

TEST(AppendLine, IsOnTheDiskWhenItReturns) {
  const TemporaryFolder folder;
  const int before = num_flushed;
  append_line(folder.path() / "log", "x");
  EXPECT_EQ(num_flushed, before + 2) << "the file and, as it is new, its folder";
  append_line(folder.path() / "log", "y");
  EXPECT_EQ(num_flushed, before + 3);
}

TEST(RemoveLeftovers, LeavesTheFilesThatSomebodyIsWriting) {
  const TemporaryFolder folder;
  const auto left = folder.path() / ".offramp-1-1.tmp",
             written = folder.path() / ".offramp-1-2.tmp";
  std::ofstream(left) << "half";
  std::ofstream(written) << "half";
  const int writer = open(written.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(flock(writer, LOCK_EX | LOCK_NB), 0);
  remove_leftovers(folder.path());
  EXPECT_FALSE(std::filesystem::exists(left));
  EXPECT_TRUE(std::filesystem::exists(written));
  close(writer);
}

TEST(FileLock, IsHeldByOneAtATime) {
  const TemporaryFolder folder;
  const auto path = folder.path() / ".lock";
  {
    std::optional<FileLock> first = FileLock::try_lock(path);
    ASSERT_TRUE(first);
    EXPECT_FALSE(FileLock::try_lock(path));
    const FileLock moved = std::move(*first);
    first.reset();
    EXPECT_FALSE(FileLock::try_lock(path));
  }
  EXPECT_TRUE(FileLock::try_lock(path));
  EXPECT_THROW(FileLock::try_lock(folder.path() / "none" / ".lock"), Error);
}

TEST(FileLock, WaitsForTheLockOfAFolder) {
  const TemporaryFolder folder;
  std::atomic<int> shared = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const FileLock held = FileLock::lock_folder(folder.path());
        const int read = shared;
        std::this_thread::yield();
        shared = read + 1;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared, 200);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "no file is left";
  EXPECT_THROW(FileLock::lock_folder(folder.path() / "none"), Error);
}

TEST(MappedFile, ShowsTheFile) {
  const TemporaryFolder folder;
  write_text_atomic(folder.path() / "a", "abc");
  MappedFile file(folder.path() / "a");
  ASSERT_EQ(file.bytes().size(), 3u);
  EXPECT_EQ(static_cast<char>(file.bytes()[2]), 'c');
  const MappedFile moved = std::move(file);
  EXPECT_EQ(moved.bytes().size(), 3u);
  EXPECT_EQ(static_cast<char>(moved.bytes()[0]), 'a');
}

TEST(MappedFile, KeepsShowingAReplacedFile) {
  const TemporaryFolder folder;
  write_text_atomic(folder.path() / "a", "old");
  const MappedFile file(folder.path() / "a");
  write_text_atomic(folder.path() / "a", "");
  EXPECT_EQ(static_cast<char>(file.bytes()[0]), 'o');
}

TEST(MappedFile, SaysThatItsFileWasTruncated) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a";
  write_text_atomic(path, "abc");
  const MappedFile file(path);
  fs::resize_file(path, 4);
  EXPECT_NO_THROW(file.check_length());
  fs::resize_file(path, 2);
  EXPECT_THAT([&] { file.check_length(); },
              testing::ThrowsMessage<Error>("the file was truncated after it was opened"));
}

TEST(MappedFile, TakesAnEmptyFile) {
  const TemporaryFolder folder;
  write_text_atomic(folder.path() / "a", "");
  EXPECT_TRUE(MappedFile(folder.path() / "a").bytes().empty());
}

TEST(TemporaryFolder, IsRemovedWithAllItHolds) {
  fs::path path;
  {
    const TemporaryFolder folder, other;
    path = folder.path();
    EXPECT_NE(path, other.path());
    fs::create_directories(path / "a" / "b");
    write_text_atomic(path / "a" / "b" / "c", "x");
  }
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace offramp::core
