#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace offramp::serve {

/// A thread that does one piece of work after another. It takes work that would occupy the thread
/// of the HTTP server, which must answer all clients, for too long.
class Worker {
 public:
  Worker();
  /// Calls finish().
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Adds a piece of work. After finish(), the calling thread does the work itself.
  /// @param work  must not throw
  void post(std::function<void()> work);
  /// Does the remaining work, then ends the thread.
  void finish();

 private:
  void run();

  std::mutex mutex_;  // guards the members below except thread_
  std::condition_variable changed_;
  std::list<std::function<void()>> waiting_;
  bool finishing_ = false;
  std::thread thread_;
};

}  // namespace offramp::serve
