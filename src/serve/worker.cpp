#include "serve/worker.h"

#include <utility>

namespace offramp::serve {

Worker::Worker() : thread_([this] { run(); }) {}
Worker::~Worker() { finish(); }

void Worker::post(std::function<void()> work) {
  std::list<std::function<void()>> fresh;
  fresh.push_back(std::move(work));
  {
    const std::lock_guard lock(mutex_);
    if (!finishing_) waiting_.splice(waiting_.end(), fresh);
  }
  changed_.notify_one();
  if (!fresh.empty()) fresh.front()();
}

void Worker::finish() {
  {
    const std::lock_guard lock(mutex_);
    finishing_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  for (;;) {
    std::list<std::function<void()>> one;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return finishing_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      one.splice(one.end(), waiting_, waiting_.begin());
    }
    one.front()();
  }
}

}  // namespace offramp::serve
