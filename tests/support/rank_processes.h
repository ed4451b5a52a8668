#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/free_port.h"
#include "train/process_group.h"

namespace offramp::test {

/// How a rank ended.
struct RankResult {
  int status = 0;    ///< 0, 1 after an Error, or 128 + the number of the signal that ended it
  std::string text;  ///< what its work returned, or the message of the Error
};

namespace detail {

template <typename Work>
[[noreturn]] void be_rank(const train::Ranks& ranks, std::chrono::seconds timeout, const Work& work,
                          int out) {
  torch::set_num_threads(1);
  RankResult result;
  try {
    const auto group = train::join_process_group(ranks, timeout);
    result.text = work(*group);
  } catch (const Error& error) {
    result = {1, error.what()};
  } catch (const std::exception& error) {
    result = {2, error.what()};
  }
  if (::write(out, result.text.data(), result.text.size()) < 0) result.status = 3;
  std::_Exit(result.status);
}

}  // namespace detail

/// Runs `work(group)`, which returns a text, in processes that meet at 127.0.0.1. A process that
/// stops itself (SIGSTOP) is killed when the others have ended. The test must not have used
/// LibTorch before, because its threads do not survive a fork.
template <typename Work>
std::vector<RankResult> run_ranks(int world, const Work& work,
                                  std::chrono::seconds timeout = std::chrono::seconds(20)) {
  train::Ranks ranks;
  ranks.world = ranks.local_world = world;
  ranks.port = free_port();
  struct Child {
    pid_t pid = 0;
    int from = -1;
  };
  std::vector<Child> children;
  for (ranks.rank = 0; ranks.rank < world; ++ranks.rank) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe failed");
    const pid_t pid = ::fork();
    if (pid < 0) throw std::runtime_error("fork failed");
    if (pid == 0) detail::be_rank(ranks, timeout, work, ends[1]);
    ::close(ends[1]);
    children.push_back({pid, ends[0]});
  }
  std::vector<RankResult> results(children.size());
  std::size_t ended = 0, stopped = 0;
  while (ended < children.size()) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WUNTRACED);
    for (std::size_t r = 0; r < children.size(); ++r) {
      if (children[r].pid != pid) continue;
      if (WIFSTOPPED(status)) {
        ++stopped;
        continue;
      }
      ++ended;
      children[r].pid = 0;
      results[r].status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (stopped > 0 && ended + stopped == children.size()) {
      for (const Child& child : children)
        if (child.pid > 0) ::kill(child.pid, SIGKILL);
      stopped = 0;
    }
  }
  for (std::size_t r = 0; r < children.size(); ++r) {
    char bytes[4096];
    for (ssize_t n = 0; (n = ::read(children[r].from, bytes, sizeof bytes)) > 0;)
      results[r].text.append(bytes, static_cast<std::size_t>(n));
    ::close(children[r].from);
  }
  return results;
}

}  // namespace offramp::test
