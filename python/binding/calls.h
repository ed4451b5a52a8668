#pragma once

#include <functional>

#include "nanobind/nanobind.h"

namespace offramp::python {

namespace nb = nanobind;

/// How often this process was forked after the extension was loaded: 0 in the process that loaded
/// it. Threads do not survive a fork, so a model of another number cannot be used or destroyed.
int fork_count() noexcept;

/// Counts the forks of this process from now on. Called once, when the module is created.
void watch_forks();

/// Runs `work` without the interpreter's lock, on the calling thread, so that other Python threads
/// go on. Called with the lock held. @throws what `work` throws
void run_unlocked(const std::function<void()>& work);

/// Runs `work` on a thread of its own, while this one handles signals every 20 ms: when a handler
/// raises (Ctrl-C), `cancel` is called, `work` is waited for, and the exception is thrown.
/// Starting the thread takes some 50 µs.
/// @param cancel  makes `work` return soon; called without the interpreter's lock
void run_interruptibly(const std::function<void()>& work, const std::function<void()>& cancel);

}  // namespace offramp::python
