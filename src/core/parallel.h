#pragma once

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace offramp::core {

/// The number of cores that this process may run on, at least 1. It is taken from the affinity
/// mask, which `taskset` sets.
int usable_cores();

/// A group of threads that each run one function. The destructor waits for them to end.
class Threads {
 public:
  Threads() = default;
  ~Threads() { join(); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  /// Starts `count` threads; thread i runs body(i), which must not throw.
  /// @param release  called if a thread cannot be started: it must make the bodies that already run
  ///                 return, because they are joined before the error is thrown
  /// @throws Error "cannot start <count> threads: <reason>"; no thread runs then
  void start(int count, const std::function<void(int)>& body, const std::function<void()>& release);

  /// Waits until all bodies have returned.
  void join();

  std::size_t size() const { return threads_.size(); }

 private:
  std::vector<std::thread> threads_;
};

/// Checks that this process may start `count` more threads, by starting them and ending them again.
/// Call it before a library that would end the process if it could not start a thread.
/// @throws Error as Threads::start
void check_can_start(int count);

/// Calls `work(i)` once for each i = 0 … count - 1, from the calling thread and up to
/// `max_threads` - 1 other threads at the same time. If a call throws, no further call begins, and
/// parallel_for throws the first exception again.
/// @param max_threads  0 means usable_cores()
/// @throws Error if a thread cannot be started
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work,
                  int max_threads = 0);

}  // namespace offramp::core
