#pragma once

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace offramp {

/// Cores that this process may run on: its affinity mask counts, so that `taskset` is obeyed.
/// At least 1.
int usable_cores();

/// Threads with one body each; the destructor waits for them to end.
class Threads {
 public:
  Threads() = default;
  ~Threads() { join(); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  /// Starts `count` threads; thread i runs body(i), which must not throw.
  /// @param release  makes bodies that are already running return; called if a thread cannot be
  ///                 started, before the running ones are joined
  /// @throws Error "cannot start <count> threads: <reason>", with no thread left
  void start(int count, const std::function<void(int)>& body, const std::function<void()>& release);

  /// Waits until all bodies have returned.
  void join();

  std::size_t size() const { return threads_.size(); }

 private:
  std::vector<std::thread> threads_;
};

/// Calls `work(i)` for i = 0 … count - 1, each i once, from the calling thread and up to
/// `max_threads` - 1 others. After an exception no further call begins; the first exception is
/// thrown again here. `work` is called from several threads at once.
/// @param max_threads  0: usable_cores()
/// @throws Error if a thread cannot be started
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work,
                  int max_threads = 0);

}  // namespace offramp
