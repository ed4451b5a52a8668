#include "calls.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

namespace offramp::python {
namespace {

std::atomic<int> forks = 0;

}  // namespace

int fork_count() noexcept { return forks.load(std::memory_order_relaxed); }

void watch_forks() {
  pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
}

void run_unlocked(const std::function<void()>& work) {
  // The OpenMP runtime of a forked child waits for threads that were left in the parent; a thread
  // that is new here has a team of its own.
  if (fork_count() > 0) {
    run_interruptibly(work, [] {});
    return;
  }
  const nb::gil_scoped_release release;
  work();
}

void run_interruptibly(const std::function<void()>& work, const std::function<void()>& cancel) {
  std::exception_ptr failure;
  bool interrupted = false;
  {
    const nb::gil_scoped_release release;
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    std::thread worker([&] {
      try {
        work();
      } catch (...) {
        failure = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      done = true;
      changed.notify_one();
    });
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, std::chrono::milliseconds(20), [&] { return done; })) {
      if (interrupted) continue;
      lock.unlock();
      {
        const nb::gil_scoped_acquire acquire;
        interrupted = PyErr_CheckSignals() != 0;
      }
      if (interrupted) cancel();
      lock.lock();
    }
    lock.unlock();
    worker.join();
  }
  if (interrupted) throw nb::python_error();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace offramp::python
