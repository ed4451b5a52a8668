#include "core/parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <vector>

#include "core/error.h"

namespace offramp::core {
namespace {

using testing::HasSubstr;

/// Runs `body` in a child process that may not start another thread, and returns its output. The
/// limit does not apply to root, so the child changes to the user "nobody".
template <typename Body>
std::string without_threads(const Body& body) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    const rlimit none = {1, 1};
    if (setgid(65534) != 0 || setuid(65534) != 0 || setrlimit(RLIMIT_NPROC, &none) != 0)
      std::_Exit(3);
    std::string text = "no error";
    try {
      body();
    } catch (const Error& error) {
      text = error.what();
    }
    const ssize_t written = write(ends[1], text.data(), text.size());
    std::_Exit(written < 0);
  }
  close(ends[1]);
  std::string text(1000, '\0');
  const ssize_t count = read(ends[0], text.data(), text.size());
  text.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 3 ? "no rights" : text;
}

TEST(ParallelFor, CallsEveryIndexOnce) {
  for (const int threads : {0, 1, 2, 7}) {
    std::vector<std::atomic<int>> calls(100);
    parallel_for(
        calls.size(), [&](std::size_t i) { ++calls[i]; }, threads);
    for (const auto& count : calls) EXPECT_EQ(count, 1);
  }
}

TEST(ParallelFor, PassesOnTheFirstExceptionOfAnyThread) {
  std::atomic<int> calls = 0;
  const auto work = [&](std::size_t i) {
    ++calls;
    if (i == 3) throw std::bad_alloc();
  };
  EXPECT_THROW(parallel_for(1000000, work, 4), std::bad_alloc);
  EXPECT_LT(calls, 1000000);
}

TEST(ParallelFor, ReportsThatAThreadCannotBeStarted) {
  const std::string text = without_threads([] {
    parallel_for(
        4, [](std::size_t) {}, 4);
  });
  if (text == "no rights") GTEST_SKIP() << "needs root to become another user";
  EXPECT_THAT(text, HasSubstr("cannot start 3 threads"));
}

TEST(Threads, ReleasesThoseThatRunWhenOneCannotBeStarted) {
  const std::string text = without_threads([] {
    std::atomic<bool> closing = false;
    Threads threads;
    threads.start(
        3,
        [&](int) {
          while (!closing) sched_yield();
        },
        [&] { closing = true; });
  });
  if (text == "no rights") GTEST_SKIP() << "needs root to become another user";
  EXPECT_THAT(text, HasSubstr("cannot start 3 threads"));
}

TEST(CheckCanStart, ReportsHowManyThreadsCannotBeStarted) {
  EXPECT_NO_THROW(check_can_start(0));
  EXPECT_NO_THROW(check_can_start(4));
  const std::string text = without_threads([] { check_can_start(3); });
  if (text == "no rights") GTEST_SKIP() << "needs root to become another user";
  EXPECT_THAT(text, HasSubstr("cannot start 3 threads"));
}

TEST(UsableCores, FollowsTheAffinityMask) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &before)) {
      CPU_SET(core, &one);
      break;
    }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_cores(), 1);
  sched_setaffinity(0, sizeof before, &before);
}

}  // namespace
}  // namespace offramp::core
