#pragma once

#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "core/error.h"

namespace offramp::test {

/// Runs `work` in the child process of a death test. A limit on file sizes acts like a disk that
/// fills up during the work. If the work throws an Error, the process ends with status 1 and the
/// message on standard error.
template <typename Work>
[[noreturn]] void with_full_disk(Work&& work) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {4096, 4096};
  if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) std::_Exit(2);
  try {
    work();
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::_Exit(1);
  }
  std::_Exit(0);
}

}  // namespace offramp::test
