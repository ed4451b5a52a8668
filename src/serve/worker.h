#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace offramp::serve {

/// A thread that does one piece of work after the other: what would keep the thread of the HTTP
/// server, which must answer everybody, for too long.
class Worker {
 public:
  Worker();
  /// As finish().
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// After finish(), the work is done by the calling thread. @param work  must not throw
  void post(std::function<void()> work);
  /// Does what waits, then ends the thread.
  void finish();

 private:
  void run();

  std::mutex mutex_;  // guards the rest but thread_
  std::condition_variable changed_;
  std::list<std::function<void()>> waiting_;
  bool finishing_ = false;
  std::thread thread_;
};

}  // namespace offramp::serve
