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
  auto attached = std::make_unique<AttachedJob>(AttachedJob{&job});
  const std::lock_guard starting(start_mutex_);
  std::unique_lock lock(mutex_);
  if (num_threads_ > 0 && threads_.size() == 0) {
    closing_ = false;
    // The threads wait for the lock until all of them were started. If one cannot be started, the
    // lock is released, so that the others see closing_, return and can be joined.
    threads_.start(
        num_threads_, [this](int thread) { work_until_closed(thread + 1); },
        [&] {
          closing_ = true;
          lock.unlock();
        });
  }
  jobs_.push_back(attached.release());
}

void Team::detach(Job& job) {
  std::unique_lock lock(mutex_);
  const auto place = std::ranges::find(jobs_, &job, &AttachedJob::job);
  if (place == jobs_.end()) return;
  const std::unique_ptr<AttachedJob> attached(*place);
  jobs_.erase(place);
  job_is_idle_.wait(lock, [&] { return attached->num_workers == 0; });
}

void Team::notify() {
  { const std::lock_guard lock(mutex_); }
  changed_.notify_all();
}

Team::AttachedJob* Team::next_with_work(int lane) {
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    AttachedJob* const attached = jobs_[(next_job_ + i) % jobs_.size()];
    if (!attached->job->has_work(lane)) continue;
    next_job_ += i + 1;
    return attached;
  }
  return nullptr;
}

void Team::work_until_closed(int lane) {
  const runtime::OmpThreads threads(omp_threads_);
  std::unique_lock lock(mutex_);
  while (!closing_) {
    AttachedJob* const attached = next_with_work(lane);
    if (attached == nullptr) {
      changed_.wait(lock);
      continue;
    }
    ++attached->num_workers;
    lock.unlock();
    attached->job->work(lane);
    lock.lock();
    if (--attached->num_workers == 0) job_is_idle_.notify_all();
  }
}

}  // namespace offramp::engine
