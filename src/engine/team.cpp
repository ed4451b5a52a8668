#include "engine/team.h"

#include <algorithm>
#include <memory>

#include "runtime/omp_threads.h"

namespace offramp::engine {

Team::~Team() {
  close();
  threads_.join();
}

void Team::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
}

void Team::attach(Job& job) {
  auto attached = std::make_unique<Attached>(Attached{&job});
  const std::lock_guard starting(starting_);
  std::unique_lock lock(mutex_);
  if (num_threads_ > 0 && threads_.size() == 0) {
    closing_ = false;
    // The threads wait for the lock until all of them were started. If one cannot be started, the
    // lock is released, so that the others see closing_, return and can be joined.
    threads_.start(
        num_threads_, [this](int thread) { serve(thread + 1); },
        [&] {
          closing_ = true;
          lock.unlock();
        });
  }
  jobs_.push_back(attached.release());
}

void Team::detach(Job& job) {
  std::unique_lock lock(mutex_);
  const auto place = std::ranges::find(jobs_, &job, &Attached::job);
  if (place == jobs_.end()) return;
  const std::unique_ptr<Attached> attached(*place);
  jobs_.erase(place);
  left_.wait(lock, [&] { return attached->users == 0; });
}

void Team::notify() {
  { const std::lock_guard lock(mutex_); }
  changed_.notify_all();
}

Team::Attached* Team::next_with_work(int lane) {
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    Attached* const attached = jobs_[(turn_ + i) % jobs_.size()];
    if (!attached->job->has_work(lane)) continue;
    turn_ += i + 1;
    return attached;
  }
  return nullptr;
}

void Team::serve(int lane) {
  const OmpThreads threads(omp_threads_);
  std::unique_lock lock(mutex_);
  while (!closing_) {
    Attached* const attached = next_with_work(lane);
    if (attached == nullptr) {
      changed_.wait(lock);
      continue;
    }
    ++attached->users;
    lock.unlock();
    attached->job->work(lane);
    lock.lock();
    if (--attached->users == 0) left_.notify_all();
  }
}

}  // namespace offramp::engine
