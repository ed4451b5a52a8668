#include "core/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>

#include "core/error.h"

namespace offramp::core {

int usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  // The call fails on a machine with more than 1,024 cores, the size of the mask.
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

void Threads::start(int count, const std::function<void(int)>& body,
                    const std::function<void()>& release) {
  try {
    threads_.reserve(threads_.size() + static_cast<std::size_t>(std::max(count, 0)));
    for (int i = 0; i < count; ++i) threads_.emplace_back([body, i] { body(i); });
  } catch (const std::system_error& error) {
    release();
    join();
    throw Error(fmt::format("cannot start {} threads: {}", count, error.code().message()));
  } catch (...) {  // for example std::bad_alloc while the state of a thread is allocated
    release();
    join();
    throw;
  }
}

void Threads::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void check_can_start(int count) {
  std::atomic<bool> done = false;
  const auto release = [&] {
    done = true;
    done.notify_all();
  };
  Threads threads;
  threads.start(
      count, [&](int) { done.wait(false); }, release);
  release();
}

void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work,
                  int max_threads) {
  const int threads = max_threads > 0 ? max_threads : usable_cores();
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (failure == nullptr) failure = std::current_exception();
        next = count;
      }
    }
  };
  {
    const auto helpers =
        static_cast<int>(std::min<std::size_t>(count, static_cast<std::size_t>(threads))) - 1;
    Threads others;
    others.start(
        helpers, [&](int) { run(); }, [&] { next = count; });
    run();
  }
  if (failure != nullptr) std::rethrow_exception(failure);
}

}  // namespace offramp::core
